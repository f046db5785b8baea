//! Names that should make one look: `SuspiciousNames`, `FileExtensions` and `NonAlphaNumFiles` (cfengine2.md 12). What
//! sweeps come across is told, nothing is done to it.

use std::path::Path;

use bstr::{BStr, BString};

use super::Run;
use super::report::Level;
use crate::fsx::any_matches;

/// What the policy finds suspicious.
#[derive(Clone, Debug, Default)]
pub struct Suspicion {
    names: Vec<BString>,
    extensions: Vec<BString>,
    symbols: bool,
}

impl Suspicion {
    /// As `control:` says.
    pub fn of(run: &Run<'_>) -> Suspicion {
        Suspicion {
            names: run.ctx.list("SuspiciousNames"),
            extensions: run.ctx.list("FileExtensions"),
            symbols: run.is_on("NonAlphaNumFiles"),
        }
    }

    /// Looks at the name of an object of a sweep.
    pub fn look(&self, run: &mut Run<'_>, path: &Path, name: &BStr, is_dir: bool) {
        if let Some(why) = self.why(name, is_dir) {
            let shown = path.display();
            run.report.say(Level::Silent, format_args!("Suspicious {why}: {shown}"));
        }
    }

    fn why(&self, name: &BStr, is_dir: bool) -> Option<&'static str> {
        let ends = |extension: &BString| {
            let extension = extension.strip_prefix(b".").unwrap_or(extension);
            name.strip_suffix(extension).is_some_and(|stem| stem.ends_with(b"."))
        };
        if any_matches(&self.names, name) {
            return Some("name");
        }
        if is_dir && self.extensions.iter().any(ends) {
            return Some("directory with the extension of a file");
        }
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80;
        (self.symbols && !name.iter().any(plain)).then_some("name without a letter or digit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_extensions_of_directories_and_names_of_symbols_are_suspicious() {
        let suspicion = Suspicion {
            names: vec![".mo*".into(), "lrk3".into()],
            extensions: vec!["c".into(), ".o".into()],
            symbols: true,
        };
        for (name, is_dir, wanted) in [
            (".more", false, Some("name")),
            ("x.c", true, Some("directory with the extension of a file")),
            ("x.o", true, Some("directory with the extension of a file")),
            ("x.c", false, None),
            ("xc", true, None),
            ("...", true, Some("name without a letter or digit")),
            (". a", true, None),
        ] {
            assert_eq!(suspicion.why(name.into(), is_dir), wanted, "{name}");
        }
    }
}
