//! The answers of many hosts side by side: the same one once, or what differs from the most common one.

use std::io::{self, Write};

use super::look::{Heads, Labelled, Look};
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
    fn title(&self, heads: &Heads) -> String {
        let count = self.hosts.jobs.len();
        let mut title = match count {
            2.. if heads.count => format!("{} ({count})", self.names),
            _ => self.names.clone(),
        };
        if let Some(ended) = self.ended.as_ref().filter(|_| heads.ended) {
            title += ": ";
            title += ended;
        }
        title
    }

    fn job(&self) -> usize {
        self.hosts.jobs.first().copied().unwrap_or_default()
    }
}

/// Shows the groups, the most common first; of the others only a unified diff against it where that is asked for.
pub fn show(
    transcripts: &Transcripts,
    groups: &[Group],
    streams: &[Stream],
    look: &Look,
    out: &mut Out,
) -> io::Result<()> {
    let (heads, differences) = (&look.heads, look.diff);
    let Some(common) = groups.first() else {
        return Ok(());
    };
    let bare = differences && heads.bare_diff;
    for (at, group) in groups.iter().enumerate().skip(usize::from(bare)) {
        let mut said = false;
        for &stream in streams {
            let text = if differences && at > 0 {
                changes(transcripts, [common, group], stream, heads)?
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
            if bare {
                to.write_all(&text)?;
                continue;
            }
            if heads.dashes == 0 {
                let label = heads.colored(&format!("{}: ", group.names), stream);
                transcripts.write(group.job(), stream, &mut Labelled::new(label, to))?;
                continue;
            }
            to.write_all(heads.above(&group.title(heads), stream).as_bytes())?;
            match text.is_empty() {
                true => transcripts.write(group.job(), stream, to)?,
                false => to.write_all(&text)?,
            }
        }
        if differences && at > 0 && !said && !bare {
            // They say the same and end in another way: the head tells.
            out.write_all(heads.above(&group.title(heads), Stream::Out).as_bytes())?;
        }
    }
    Ok(())
}

/// How one stream of a group differs from the common one; none when it does not.
fn changes(
    transcripts: &Transcripts,
    [common, group]: [&Group; 2],
    stream: Stream,
    heads: &Heads,
) -> io::Result<Option<Vec<u8>>> {
    if transcripts.same(common.job(), group.job(), stream) {
        return Ok(None);
    }
    let text = |group: &Group| transcripts.text(group.job(), stream, COMPARED);
    let (Some(old), Some(new)) = (text(common)?, text(group)?) else {
        return Ok(Some(b"The output differs and is too long to be compared.\n".to_vec()));
    };
    let mut out = Vec::new();
    for line in diff::unified(&common.title(heads), &group.title(heads), &old, &new) {
        out.extend_from_slice(&line);
        out.push(b'\n');
    }
    Ok(Some(out))
}
