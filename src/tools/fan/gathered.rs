//! The answers of many hosts side by side: the same one once, or what differs from the most common one.

use std::io::{self, Write};

use super::show::head;
use crate::diag::Out;
use crate::diff;
use crate::fan::{Gathered, Stream, Transcripts};

/// The largest answers that are compared line by line, in bytes.
const COMPARED: u64 = 16 << 20;

/// Hosts with the same answer.
pub struct Group {
    /// Which.
    pub hosts: Gathered,
    /// Their names in short form.
    pub names: String,
    /// How they ended, when that is worth to be said.
    pub ended: Option<String>,
}

impl Group {
    fn title(&self) -> String {
        let count = self.hosts.jobs.len();
        let mut title = match count {
            1 => self.names.clone(),
            _ => format!("{} ({count})", self.names),
        };
        if let Some(ended) = &self.ended {
            title += ": ";
            title += ended;
        }
        title
    }

    fn job(&self) -> usize {
        self.hosts.jobs.first().copied().unwrap_or_default()
    }
}

/// Shows the groups, the most common first. With `differences`, the others only as a unified diff against it.
pub fn show(
    transcripts: &Transcripts,
    groups: &[Group],
    streams: &[Stream],
    differences: bool,
    out: &mut Out,
) -> io::Result<()> {
    let Some(common) = groups.first() else {
        return Ok(());
    };
    for (at, group) in groups.iter().enumerate() {
        let mut said = false;
        for &stream in streams {
            let text = if differences && at > 0 {
                changes(transcripts, common, group, stream)?
            } else {
                (transcripts.size(group.job(), stream) > 0).then(Vec::new)
            };
            let Some(text) = text else {
                continue;
            };
            said = true;
            let mut err = io::stderr();
            let to: &mut dyn Write = match stream {
                Stream::Out => out,
                Stream::Err => {
                    out.flush()?;
                    &mut err
                }
            };
            to.write_all(head(&group.title()).as_bytes())?;
            match text.is_empty() {
                true => transcripts.write(group.job(), stream, to)?,
                false => to.write_all(&text)?,
            }
        }
        if differences && at > 0 && !said {
            // They say the same and end in another way: the head tells.
            out.write_all(head(&group.title()).as_bytes())?;
        }
    }
    Ok(())
}

/// How one stream of a group differs from the common one; none when it does not.
fn changes(transcripts: &Transcripts, common: &Group, group: &Group, stream: Stream) -> io::Result<Option<Vec<u8>>> {
    if transcripts.same(common.job(), group.job(), stream) {
        return Ok(None);
    }
    let text = |group: &Group| transcripts.text(group.job(), stream, COMPARED);
    let (Some(old), Some(new)) = (text(common)?, text(group)?) else {
        return Ok(Some(b"The output differs and is too long to be compared.\n".to_vec()));
    };
    let mut out = Vec::new();
    for line in diff::unified(&common.title(), &group.title(), &old, &new) {
        out.extend_from_slice(&line);
        out.push(b'\n');
    }
    Ok(Some(out))
}
