//! The arguments of a method (cfengine2.md 14.17): bound to the names of `MethodParameters` as these are read, so that
//! what stands below them can use them. An argument is data: no reference in it is ever expanded, no list in it iterates.

use bstr::{BStr, BString};

use super::Context;

impl Context {
    /// The arguments that wait for their parameters.
    pub fn set_arguments(&mut self, arguments: Vec<BString>) {
        self.arguments = arguments;
        self.parameters = 0;
    }

    /// The next parameter gets its argument. One that begins with `/` is a file for the caller of this to write.
    pub(super) fn bind_parameter(&mut self, name: &BStr) {
        let argument = self.arguments.get(self.parameters).cloned();
        self.parameters += 1;
        if let Some(argument) = argument
            && !name.starts_with(b"/")
        {
            self.set(name, inert(&argument, true));
        }
    }
}

/// A text as the value of a variable that expands to just that text. With `whole` it is no list either.
pub fn inert(text: &[u8], whole: bool) -> BString {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'$' => out.extend_from_slice(b"$(dollar)"),
            b':' if whole => out.extend_from_slice(b"$(colon)"),
            _ => out.push(byte),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bstr::ByteSlice;

    #[test]
    fn an_argument_stays_the_bytes_it_is_however_often_it_is_passed_on() {
        for text in [
            "$(secret)",
            "${secret}",
            "a:b",
            "$",
            "\")\ncontrol:",
            "\\:",
            "$(dollar)(secret)",
            "$($(x))",
        ] {
            let mut context = Context::default();
            context.set("secret", "s3");
            context.set_arguments(vec![text.into()]);
            context.bind_parameter("p".into());
            let twice = context.expand_value("$(p)".into());
            context.set("twice", twice);
            for written in ["$(p)", "$(twice)"] {
                let written = written.as_bytes().as_bstr();
                assert_eq!(context.expand(written), text, "{written}");
                assert_eq!(context.iterate(written), [text], "{written}");
            }
        }
    }
}
