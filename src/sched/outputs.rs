//! The files of `outputs/` (FIL-11): one a run, mode 0600, and the link `previous` to the newest.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bstr::{BString, ByteSlice};
use jiff::Zoned;
use regex::bytes::Regex;

use super::SchedError;
use crate::state::RunSummary;

/// Bytes of output that are kept of one run.
const LIMIT: usize = 16 << 20;

/// With this begins the line that tells how a run ended.
const SUMMARY: &str = "[Summary: ";

/// The directory of outputs.
pub struct Outputs {
    dir: PathBuf,
}

/// The output of one run, while it is being written and after.
pub struct Record {
    /// The file.
    pub file: PathBuf,
    writer: BufWriter<File>,
    written: usize,
    lines: usize,
    cut: bool,
    summary: bool,
}

impl Outputs {
    /// The outputs in this directory, made if need be, readable by its owner only.
    pub fn at(dir: impl Into<PathBuf>) -> Result<Self, SchedError> {
        let dir = dir.into();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(SchedError::file(&dir))?;
        Ok(Outputs { dir })
    }

    /// Opens the file of a run that begins now: `cf_HOST_2026-11-21--20-48-37_1795294117`.
    pub fn begin(&self, host: &str, now: &Zoned) -> Result<Record, SchedError> {
        let file = self.dir.join(name(host, now));
        let opened = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .map_err(SchedError::file(&file))?;
        Ok(Record {
            file,
            writer: BufWriter::new(opened),
            written: 0,
            lines: 0,
            cut: false,
            summary: false,
        })
    }

    /// Closes the file of a run and lets `previous` name it. True when it says something other than the one before,
    /// times left out.
    pub fn finish(&self, record: &mut Record) -> Result<bool, SchedError> {
        record.writer.flush().map_err(SchedError::file(&record.file))?;
        let link = self.dir.join("previous");
        let differs = match self.previous() {
            Some(old) => differ(&old, &record.file).unwrap_or(true),
            None => true,
        };
        point(&link, &record.file).map_err(SchedError::file(&link))?;
        Ok(differs)
    }

    /// Removes the files of the oldest runs, so that `keep` are left; 0 keeps all. Gives how many went. Only names of ours
    /// count, and what `previous` names stays.
    pub fn prune(&self, keep: usize) -> io::Result<usize> {
        if keep == 0 {
            return Ok(0);
        }
        let mut files: Vec<(i64, PathBuf)> = fs::read_dir(&self.dir)?
            .flatten()
            .filter_map(|entry| Some((began(entry.file_name().to_str()?)?, entry.path())))
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        let newest = self.previous();
        let mut gone = 0;
        for (_, path) in files.into_iter().skip(keep) {
            if Some(&path) != newest.as_ref() && fs::symlink_metadata(&path)?.is_file() {
                fs::remove_file(&path)?;
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// The file of the last run.
    pub fn previous(&self) -> Option<PathBuf> {
        let target = fs::read_link(self.dir.join("previous")).ok()?;
        // A name, whatever somebody has made of the link: we do not read elsewhere.
        Some(self.dir.join(target.file_name()?))
    }
}

impl Record {
    /// Adds a line; blank ones are left out.
    pub fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let line = line.trim_end();
        if line.is_empty() || self.cut {
            return Ok(());
        }
        if self.written + line.len() > LIMIT {
            self.cut = true;
            return writeln!(self.writer, "[Output truncated: more than {LIMIT} bytes]");
        }
        self.written += line.len() + 1;
        self.lines += 1;
        self.writer.write_all(line)?;
        self.writer.write_all(b"\n")
    }

    /// Adds how the run ended, where it said something. That is no output: it is neither mailed nor compared.
    pub fn end_with(&mut self, run: &RunSummary) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        self.summary = true;
        writeln!(self.writer, "{SUMMARY}{run}]")
    }

    /// Whether the run said nothing.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// The first lines of the finished file, at most `limit`, and whether there are more.
    pub fn head(&self, limit: usize) -> io::Result<(Vec<BString>, bool)> {
        let mut lines = VecDeque::new();
        let mut reader = BufReader::new(File::open(&self.file)?);
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok((lines.into(), false));
            }
            if self.summary && is_summary(&line) && reader.fill_buf()?.is_empty() {
                return Ok((lines.into(), false));
            }
            if lines.len() == limit {
                return Ok((lines.into(), true));
            }
            lines.push_back(BString::from(line.trim_end()));
        }
    }
}

fn name(host: &str, now: &Zoned) -> String {
    let host: String = host
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    format!(
        "cf_{host}_{}_{}",
        now.strftime("%Y-%m-%d--%H-%M-%S"),
        now.timestamp().as_second()
    )
}

/// When the run of an output file began: the seconds at the end of its name.
fn began(name: &str) -> Option<i64> {
    let (_, seconds) = name.strip_prefix("cf_")?.rsplit_once('_')?;
    seconds.parse().ok()
}

/// Lets the link name a file in its own directory, in one step.
fn point(link: &Path, file: &Path) -> io::Result<()> {
    let temp = link.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&temp);
    std::os::unix::fs::symlink(file.file_name().unwrap_or_default(), &temp)?;
    fs::rename(&temp, link).inspect_err(|_| {
        let _ = fs::remove_file(&temp);
    })
}

/// Clock times and dates, in the forms in which they come in messages.
static TIMES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let day = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?";
    let month = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*";
    Regex::new(&format!(
        r"(?-u)\b(?:{day}[ _]+)?{month}[ _]+\d{{1,2}}[ _]+\d{{1,2}}:\d\d(?::\d\d)?(?:[ _]+\d{{4}})?|\b\d{{4}}-\d\d-\d\d[T -]*(?:\d\d[:-]\d\d[:-]\d\d)?(?:_\d{{9,}})?|\b\d{{1,2}}:\d\d(?::\d\d)?\b"
    ))
    .ok()
});

fn timeless(line: &[u8]) -> BString {
    match &*TIMES {
        Some(times) => times.replace_all(line.trim_end(), &b"<time>"[..]).into_owned().into(),
        None => line.trim_end().into(),
    }
}

fn is_summary(line: &[u8]) -> bool {
    line.starts_with(SUMMARY.as_bytes())
}

/// Whether two outputs differ in more than times, and in how the runs ended.
fn differ(old: &Path, new: &Path) -> io::Result<bool> {
    let mut old = BufReader::new(File::open(old)?);
    let mut new = BufReader::new(File::open(new)?);
    let next = |reader: &mut BufReader<File>, line: &mut Vec<u8>| -> io::Result<usize> {
        loop {
            line.clear();
            let read = reader.read_until(b'\n', line)?;
            if read == 0 || !is_summary(line) {
                return Ok(read);
            }
        }
    };
    loop {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let (n, m) = (next(&mut old, &mut a)?, next(&mut new, &mut b)?);
        if n == 0 && m == 0 {
            return Ok(false);
        }
        if (n == 0) != (m == 0) || timeless(&a) != timeless(&b) {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn moment(second: i64) -> Zoned {
        jiff::Timestamp::from_second(second)
            .unwrap()
            .to_zoned(jiff::tz::TimeZone::UTC)
    }

    fn run(outputs: &Outputs, second: i64, lines: &[&str]) -> (Record, bool) {
        let mut record = outputs.begin("c1.example.com", &moment(second)).unwrap();
        for line in lines {
            record.line(line.as_bytes()).unwrap();
        }
        let differs = outputs.finish(&mut record).unwrap();
        (record, differs)
    }

    #[test]
    fn a_run_leaves_one_private_file_and_the_link_previous_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = Outputs::at(dir.path().join("outputs")).unwrap();
        let (record, differs) = run(&outputs, 1_795_294_117, &["one", "", "  ", "two  "]);
        assert!(differs, "the first is news");
        assert_eq!(
            record.file.file_name().unwrap(),
            "cf_c1_example_com_2026-11-21--20-48-37_1795294117"
        );
        assert_eq!(fs::read_to_string(&record.file).unwrap(), "one\ntwo\n");
        assert_eq!(fs::metadata(&record.file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(outputs.previous().unwrap(), record.file);
        run(&outputs, 1_795_294_118, &[]);
        assert_eq!(fs::read_dir(dir.path().join("outputs")).unwrap().count(), 3);
    }

    #[test]
    fn old_outputs_go_and_the_newest_and_what_is_not_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = Outputs::at(dir.path()).unwrap();
        for second in [9, 10, 100, 1_000] {
            run(&outputs, second, &["x"]);
        }
        fs::write(dir.path().join("notes"), "").unwrap();
        fs::write(dir.path().join("cf_mine_today"), "").unwrap();
        assert_eq!(outputs.prune(0).unwrap(), 0);
        assert_eq!(outputs.prune(2).unwrap(), 2);
        let mut left: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left.len(), 5, "{left:?}");
        assert!(left[0].ends_with("_100") && left[1].ends_with("_1000"), "{left:?}");
        // The clock went back: the newest run has the smallest number, and its file stays all the same.
        let (record, _) = run(&outputs, 1, &["x"]);
        assert_eq!(outputs.prune(1).unwrap(), 1);
        assert!(record.file.exists());
    }

    #[test]
    fn the_same_words_at_another_time_are_no_news() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = Outputs::at(dir.path()).unwrap();
        run(
            &outputs,
            1,
            &["cf: done at Sat Nov 21 20:48:37 2026", "file from 2026-11-21 07:00:01"],
        );
        let (_, differs) = run(
            &outputs,
            2,
            &["cf: done at Sun Nov  1 09:00:02 2026", "file from 2026-11-22 07:30:00"],
        );
        assert!(!differs);
        assert!(
            run(&outputs, 3, &["cf: done at Sun Nov  1 09:00:02 2026"]).1,
            "a line less"
        );
        assert!(
            run(&outputs, 4, &["cf: failed at Sun Nov  1 09:00:02 2026"]).1,
            "another word"
        );
        assert!(run(&outputs, 5, &[]).1);
        assert!(!run(&outputs, 6, &[]).1);
    }

    #[test]
    fn how_a_run_ended_stands_below_what_it_said_and_is_no_news() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = Outputs::at(dir.path()).unwrap();
        let ended = |second: i64, lines: &[&str], kept: u64| {
            let mut record = outputs.begin("h", &moment(second)).unwrap();
            for line in lines {
                record.line(line.as_bytes()).unwrap();
            }
            let run = RunSummary {
                kept,
                ..RunSummary::default()
            };
            record.end_with(&run).unwrap();
            let differs = outputs.finish(&mut record).unwrap();
            (fs::read_to_string(&record.file).unwrap(), differs, record)
        };
        let (text, _, record) = ended(1, &["said"], 5);
        assert_eq!(
            text,
            "said\n[Summary: 5 promises: 5 kept, 0 repaired, 0 failed, 0 skipped, in 0.000 s]\n"
        );
        let head = record.head(1).unwrap();
        assert_eq!(head, (vec!["said".into()], false), "what is mailed has no summary");
        assert!(!ended(2, &["said"], 6).1);
        assert!(ended(3, &["said", "more"], 6).1);
        assert_eq!(ended(4, &[], 6).0, "", "a run that said nothing leaves an empty file");
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = Outputs::at(dir.path()).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("previous")).unwrap();
        assert_eq!(outputs.previous().unwrap(), dir.path().join("passwd"));
        assert!(run(&outputs, 1, &["x"]).1);
    }

    #[test]
    fn output_without_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = Outputs::at(dir.path()).unwrap();
        let mut record = outputs.begin("h", &moment(1)).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            record.line(&line).unwrap();
        }
        outputs.finish(&mut record).unwrap();
        assert!(fs::metadata(&record.file).unwrap().len() < (17 << 20));
        let (head, more) = record.head(1).unwrap();
        assert!(head.len() == 1 && more);
    }
}
