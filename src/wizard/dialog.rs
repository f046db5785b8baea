//! Talking with the administrator: a terminal or piped answers, or nobody at all when a recorded file is replayed.

use std::io::{self, BufRead, Write};

use super::question::Question;
use super::text;

/// Longest answer that is read.
const MAX_ANSWER: u64 = 4096;

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// There are no more answers: a clean end.
    #[error("end of input")]
    End,
    /// Talking failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The other side of the wizard.
pub trait Dialog {
    /// Shows a text, folded at 80 columns, and a line break.
    ///
    /// # Errors
    /// [`Stop::Io`].
    fn say(&mut self, text: &str) -> Result<(), Stop>;

    /// Shows a line as it is, for programs and for columns.
    ///
    /// # Errors
    /// [`Stop::Io`].
    fn line(&mut self, text: &str) -> Result<(), Stop>;

    /// Asks a question and gives the answer without blanks around it, or the question's default for an empty one.
    ///
    /// # Errors
    /// [`Stop::End`] when there are no more answers.
    fn ask(&mut self, question: &Question) -> Result<String, Stop>;

    /// CW-03: waits until the administrator has read the screen.
    ///
    /// # Errors
    /// [`Stop::End`] when there are no more answers.
    fn pause(&mut self) -> Result<(), Stop>;
}

/// Questions and answers line by line: a terminal, or a pipe.
pub struct Lines<'a> {
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
    /// A terminal shows what is typed; for a pipe the line break after a prompt has to be written.
    echo: bool,
}

impl<'a> Lines<'a> {
    /// `terminal`: what is read shows on the screen by itself.
    pub fn new(input: &'a mut dyn BufRead, output: &'a mut dyn Write, terminal: bool) -> Self {
        Lines {
            input,
            output,
            echo: terminal,
        }
    }

    fn read(&mut self) -> Result<String, Stop> {
        self.output.flush()?;
        let mut line = Vec::new();
        let mut limited = io::Read::take(&mut *self.input, MAX_ANSWER);
        if limited.read_until(b'\n', &mut line)? == 0 {
            writeln!(self.output)?;
            self.output.flush()?;
            return Err(Stop::End);
        }
        if !self.echo {
            writeln!(self.output)?;
        }
        Ok(String::from_utf8_lossy(&line).trim().to_string())
    }
}

impl Dialog for Lines<'_> {
    fn say(&mut self, text: &str) -> Result<(), Stop> {
        writeln!(self.output, "{}", text::fold(text))?;
        Ok(self.output.flush()?)
    }

    fn line(&mut self, text: &str) -> Result<(), Stop> {
        writeln!(self.output, "{text}")?;
        Ok(self.output.flush()?)
    }

    fn ask(&mut self, question: &Question) -> Result<String, Stop> {
        loop {
            write!(self.output, "{} ", question.prompt)?;
            match self.read()?.as_str() {
                "" => return Ok(question.default.to_string()),
                "?" => writeln!(self.output, "{}\n", text::fold(question.help))?,
                answer => return Ok(answer.to_string()),
            }
        }
    }

    fn pause(&mut self) -> Result<(), Stop> {
        write!(self.output, "\n{}", text::PAUSE)?;
        self.read()?;
        writeln!(self.output)?;
        Ok(())
    }
}

/// Replaying recorded answers (CW-20): shows progress, asks nothing, waits for nobody.
pub struct Replay<'a> {
    output: &'a mut dyn Write,
}

impl<'a> Replay<'a> {
    /// Progress goes to `output`.
    pub fn new(output: &'a mut dyn Write) -> Self {
        Replay { output }
    }
}

impl Dialog for Replay<'_> {
    fn say(&mut self, text: &str) -> Result<(), Stop> {
        writeln!(self.output, "{}", text::fold(text))?;
        Ok(self.output.flush()?)
    }

    fn line(&mut self, text: &str) -> Result<(), Stop> {
        writeln!(self.output, "{text}")?;
        Ok(self.output.flush()?)
    }

    fn ask(&mut self, question: &Question) -> Result<String, Stop> {
        Ok(question.default.to_string())
    }

    fn pause(&mut self) -> Result<(), Stop> {
        writeln!(self.output)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::question;
    use super::*;

    fn talk(input: &str, act: impl FnOnce(&mut Lines<'_>)) -> String {
        let mut output = Vec::new();
        let mut input = input.as_bytes();
        act(&mut Lines::new(&mut input, &mut output, true));
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn an_empty_answer_is_the_default_and_a_question_mark_explains() {
        let shown = talk("?\n\n", |dialog| {
            assert_eq!(dialog.ask(&question::CLIENTS).unwrap(), "N");
        });
        assert_eq!(shown.matches("Would you like to manage clients? [N]: ").count(), 2);
        assert!(
            shown.contains("fully qualified") || shown.contains("Answer y"),
            "{shown}"
        );
    }

    #[test]
    fn the_end_of_the_input_is_an_end_not_an_answer() {
        talk("", |dialog| {
            assert!(matches!(dialog.ask(&question::CHOICE), Err(Stop::End)));
        });
    }

    #[test]
    fn an_endless_line_is_cut() {
        let long = "x".repeat(100_000);
        talk(&long, |dialog| {
            assert_eq!(dialog.ask(&question::CHOICE).unwrap().len() as u64, MAX_ANSWER);
        });
    }
}
