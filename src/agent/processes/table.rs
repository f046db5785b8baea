//! What ps said: lines and columns.

use bstr::{BString, ByteSlice};

/// What ps said.
#[derive(Debug, Default)]
pub struct Table {
    header: Vec<BString>,
    /// Processes: number and line.
    pub lines: Vec<(i32, BString)>,
}

impl Table {
    /// Reads the output of ps: the number under the PID column is the process. Ourselves and ps are left out.
    pub fn read(output: &[BString], ours: i32) -> Table {
        let mut lines = output.iter();
        let header: Vec<BString> = lines
            .next()
            .map(|line| line.fields().map(BString::from).collect())
            .unwrap_or_default();
        let column = header.iter().position(|name| name == "PID");
        let number = |line: &BString| -> Option<i32> {
            let mut fields = line.fields();
            let field = match column {
                Some(at) => fields.nth(at),
                None => fields.find(|field| field.iter().all(u8::is_ascii_digit)),
            };
            field?.to_str().ok()?.parse().ok()
        };
        let lines = lines.filter_map(|line| Some((number(line)?, line.clone())));
        let lines = lines.filter(|(pid, _)| *pid != ours).collect();
        Table { header, lines }
    }

    /// A column of a line, by the criterion of filters that it answers.
    pub fn column(&self, line: &BString, criterion: &str) -> Option<BString> {
        let names: &[&str] = match criterion {
            "Owner" => &["USER", "UID", "UNAME"],
            "PID" => &["PID"],
            "PPID" => &["PPID"],
            "PGID" => &["PGID", "PGRP"],
            "RSize" => &["RSS", "RSZ"],
            "VSize" => &["VSZ", "SZ", "VSIZE"],
            "Status" => &["STAT", "S"],
            "Command" => &["COMMAND", "CMD"],
            "TTY" => &["TTY", "TT"],
            "Priority" => &["PRI", "NI"],
            "Threads" => &["NLWP", "THCNT"],
            "TTime" => &["TIME"],
            "STime" => &["START", "STIME"],
            _ => return None,
        };
        let at = self
            .header
            .iter()
            .position(|column| names.iter().any(|name| column == name))?;
        if at + 1 == self.header.len() {
            // The command is the rest of the line.
            let mut rest: &[u8] = line;
            for _ in 0..at {
                rest = rest.trim_start();
                rest = &rest[rest.find_byteset(b" \t").unwrap_or(rest.len())..];
            }
            return Some(rest.trim().into());
        }
        let field = line.fields().nth(at)?;
        Some(if criterion == "TTime" {
            processor_time(field)?.to_string().into()
        } else {
            field.into()
        })
    }
}

/// `MM:SS`, `HH:MM:SS`, `D-HH:MM:SS` as seconds.
fn processor_time(text: &[u8]) -> Option<i64> {
    let text = text.to_str().ok()?;
    let (days, rest) = text
        .split_once('-')
        .map_or(Ok((0, text)), |(days, rest)| days.parse().map(|days: i64| (days, rest)))
        .ok()?;
    let mut seconds = 0;
    for part in rest.split(':') {
        seconds = seconds * 60 + part.parse::<i64>().ok()?;
    }
    Some(days * 86400 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PS: &[&str] = &[
        "USER       PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND",
        "root         1  0.0  0.1  16892 10128 ?        Ss   Nov20   0:02 /sbin/init  splash",
        "www        321  0.0  0.1  16892 10128 ?        Ss   Nov20   1:02 /usr/sbin/httpd -k 99",
        "root        99  0.0  0.1  16892 10128 ?        Ss   Nov20   0:02 cfagent -q",
    ];

    fn table() -> Table {
        let lines: Vec<BString> = PS.iter().map(|line| BString::from(*line)).collect();
        Table::read(&lines, 99)
    }

    #[test]
    fn the_number_under_pid_is_the_process_and_we_are_left_out() {
        let table = table();
        assert_eq!(table.lines.iter().map(|(pid, _)| *pid).collect::<Vec<_>>(), [1, 321]);
        let column = |name: &str| table.column(&table.lines[1].1, name).map(|value| value.to_string());
        assert_eq!(column("Command").as_deref(), Some("/usr/sbin/httpd -k 99"));
        assert_eq!(column("Owner").as_deref(), Some("www"));
        assert_eq!(column("TTime").as_deref(), Some("62"));
        assert_eq!(column("PGID"), None);
    }

    #[test]
    fn processor_time_has_days_hours_minutes_and_seconds() {
        assert_eq!(processor_time(b"1-00:00:01"), Some(86401));
        assert_eq!(processor_time(b"x"), None);
    }
}
