//! What hosts said, kept with bounded memory: short answers in memory, the rest in one spool.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;
use std::io::{self, Write};

use super::{Job, Options, Report, Sink, Spool, Stop, Stream, run};
use crate::digest::{Blake3, Digest, blake3};
use crate::hosts::Host;

/// How many bytes of one host's one stream stay in memory, at least and at most: the fewer hosts, the more.
const IN_MEMORY: [usize; 2] = [4 * 1024, 64 * 1024];

/// How many bytes of all hosts together, as far as the least allows.
const OF_ALL: usize = 64 << 20;

/// How many bytes of all hosts that are done stay in memory.
const ALL_IN_MEMORY: usize = 16 << 20;

/// The transcripts of all hosts of a run, standard output and standard error apart.
#[derive(Default)]
pub struct Transcripts {
    texts: Vec<[Text; 2]>,
    spool: Option<Spool>,
    failed: Option<io::Error>,
    /// What is in memory of hosts that are done, in bytes.
    resting: usize,
}

#[derive(Default)]
struct Text {
    recent: Vec<u8>,
    extents: Vec<(u64, usize)>,
    /// Of what is in the spool; what is in memory is added when the digest is asked for.
    spooled: Option<Box<Blake3>>,
    /// Of everything, once the host is done.
    whole: Option<Digest>,
    size: u64,
}

impl Text {
    fn digest(&self) -> Digest {
        match (&self.whole, &self.spooled) {
            (Some(whole), _) => *whole,
            (None, None) => blake3(&self.recent),
            (None, Some(spooled)) => {
                let mut all = Blake3::clone(spooled);
                all.update(&self.recent);
                all.finish()
            }
        }
    }
}

/// Hosts that said the same.
pub struct Gathered {
    /// The jobs, in the order of the run; at least one.
    pub jobs: Vec<usize>,
}

fn groups<K: Hash + Eq>(keyed: impl Iterator<Item = (usize, K)>) -> Vec<Gathered> {
    let mut groups: Vec<Gathered> = Vec::new();
    let mut known = HashMap::new();
    for (job, key) in keyed {
        let at = *known.entry(key).or_insert_with(|| {
            groups.push(Gathered { jobs: Vec::new() });
            groups.len() - 1
        });
        groups[at].jobs.push(job);
    }
    groups.sort_by_key(|group| Reverse(group.jobs.len()));
    groups
}

impl Transcripts {
    /// Room for this many hosts.
    pub fn new(hosts: usize) -> Self {
        let mut transcripts = Transcripts::default();
        transcripts.texts.resize_with(hosts, Default::default);
        transcripts
    }

    /// Makes room for one more host and gives its number.
    pub fn add_host(&mut self) -> usize {
        self.texts.push(Default::default());
        self.texts.len() - 1
    }

    /// Adds a line, until the host is done.
    pub fn line(&mut self, job: usize, stream: Stream, line: &[u8]) {
        let room = (OF_ALL / 2 / self.texts.len()).clamp(IN_MEMORY[0], IN_MEMORY[1]);
        let text = &mut self.texts[job][stream as usize];
        text.size += line.len() as u64 + 1;
        text.recent.extend_from_slice(line);
        text.recent.push(b'\n');
        if text.recent.len() <= room {
            return;
        }
        text.spooled.get_or_insert_default().update(&text.recent);
        self.spill(job, stream);
        // Room for one long line is not kept for every host.
        self.texts[job][stream as usize].recent.shrink_to(2 * room);
    }

    /// Moves what is in memory of one stream to the spool.
    fn spill(&mut self, job: usize, stream: Stream) {
        let text = &mut self.texts[job][stream as usize];
        if self.failed.is_none() {
            let spooled = match &mut self.spool {
                Some(spool) => spool.append(&text.recent),
                none => Spool::new().and_then(|spool| none.insert(spool).append(&text.recent)),
            };
            match spooled {
                Ok(at) => text.extents.push((at, text.recent.len())),
                Err(error) => self.failed = Some(error),
            }
        }
        text.recent.clear();
    }

    /// A host has said all: takes no more memory for it than need be.
    pub fn done(&mut self, job: usize) {
        for stream in [Stream::Out, Stream::Err] {
            let text = &mut self.texts[job][stream as usize];
            let fits = self.resting + text.recent.len() <= ALL_IN_MEMORY;
            if text.spooled.is_some() || !fits {
                text.whole = Some(text.digest());
                text.spooled = None;
            }
            match fits {
                true => self.resting += text.recent.len(),
                false => self.spill(job, stream),
            }
            self.texts[job][stream as usize].recent.shrink_to_fit();
        }
    }

    /// What a host that is done said is not wanted any more.
    pub fn forget(&mut self, job: usize) {
        for text in &mut self.texts[job] {
            self.resting = self.resting.saturating_sub(text.recent.len());
            *text = Text::default();
        }
    }

    /// Jobs with the same text together, the largest group first; jobs that said nothing are in none.
    pub fn gather(&self, stream: Stream) -> Vec<Gathered> {
        let said = |job: &usize| self.texts[*job][stream as usize].size > 0;
        let jobs = (0..self.texts.len()).filter(said);
        groups(jobs.map(|job| (job, self.texts[job][stream as usize].digest())))
    }

    /// Jobs with the same text on both streams and the same status together, the largest group first. `status` is
    /// none for a job that has no answer; it is in no group.
    pub fn alike<S: Hash + Eq>(&self, status: impl Fn(usize) -> Option<S>) -> Vec<Gathered> {
        let answers = (0..self.texts.len()).filter_map(|job| {
            let [out, err] = &self.texts[job];
            Some((job, (out.digest(), err.digest(), status(job)?)))
        });
        groups(answers)
    }

    /// How many bytes a job said.
    pub fn size(&self, job: usize, stream: Stream) -> u64 {
        self.texts[job][stream as usize].size
    }

    /// Whether two jobs said the same.
    pub fn same(&self, one: usize, other: usize, stream: Stream) -> bool {
        let digest = |job: usize| self.texts[job][stream as usize].digest();
        digest(one) == digest(other)
    }

    /// All that a job said; none when that is more than `limit` bytes.
    pub fn text(&self, job: usize, stream: Stream, limit: u64) -> io::Result<Option<Vec<u8>>> {
        if self.size(job, stream) > limit {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.write(job, stream, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Writes what a job said. Fails when the text could not be kept, or not be written.
    pub fn write(&self, job: usize, stream: Stream, to: &mut dyn Write) -> io::Result<()> {
        if let Some(error) = &self.failed {
            return Err(io::Error::new(
                error.kind(),
                format!("output could not be kept: {error}"),
            ));
        }
        let text = &self.texts[job][stream as usize];
        let mut buffer = Vec::new();
        for &(at, size) in &text.extents {
            if let Some(spool) = &self.spool {
                buffer.resize(size, 0);
                spool.read_at(&mut buffer, at)?;
                to.write_all(&buffer)?;
            }
        }
        to.write_all(&text.recent)
    }
}

/// What one host answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it ended.
    pub report: Report,
    /// Its standard output, up to the limit.
    pub out: Vec<u8>,
    /// Its standard error, up to the limit.
    pub err: Vec<u8>,
    /// True when more was said than kept.
    pub cut: bool,
}

struct Keep {
    limit: usize,
    answers: Vec<(Vec<u8>, Vec<u8>, bool)>,
}

impl Sink for Keep {
    fn line(&mut self, job: usize, _: &Host, stream: Stream, line: &[u8]) {
        let (out, err, cut) = &mut self.answers[job];
        let text = if stream == Stream::Out { out } else { err };
        if text.len() + line.len() < self.limit {
            text.extend_from_slice(line);
            text.push(b'\n');
        } else {
            *cut = true;
        }
    }
    fn done(&mut self, _: usize, _: &Report) {}
}

/// Runs all jobs and gives what each host answered, at most `limit` bytes of each stream, in the order of the jobs. For
/// callers that work with the answers: the wizard, csshsetup.
pub fn ask(jobs: &[Job], options: &Options, stop: Option<&Stop>, limit: usize) -> io::Result<Vec<Answer>> {
    let mut keep = Keep {
        limit,
        answers: vec![Default::default(); jobs.len()],
    };
    let reports = run(jobs, options, stop, &mut keep)?;
    let pairs = reports.into_iter().zip(keep.answers);
    Ok(pairs
        .map(|(report, (out, err, cut))| Answer { report, out, err, cut })
        .collect())
}
