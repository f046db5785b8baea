//! What the policy says about cfexecd: `schedule`, `EmailTo` or `sysadm`, `EmailFrom`, `EmailMaxLines`. Read from
//! `cfagent.conf` as the agent reads it, with the classes the agent will have.

use std::path::PathBuf;

use bstr::ByteSlice;
use jiff::Zoned;

use super::mail::address;
use super::smtp::Server;
use crate::facts::{self, Host, Machine};
use crate::policy::{self, ClassExpr, Context, Options, Phase, PolicyError};
use crate::sys::Paths;

/// Lines of a message where the policy names no number.
const MAX_LINES: usize = 100;
/// IN-04: when the daemon runs the agent where the policy names no time: once an hour.
const SCHEDULE: &str = "Min00_05";

/// What the policy says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is told; `None`: the lines go to syslog.
    pub to: Option<String>,
    /// The sender.
    pub from: Option<String>,
    /// The mail server; `None`: sendmail(8).
    pub server: Option<Server>,
    /// Lines of a message; `None` = all.
    pub max_lines: Option<usize>,
    /// The time classes at which the daemon runs the agent.
    pub schedule: Vec<ClassExpr>,
    /// The policy files that were read.
    pub files: Vec<PathBuf>,
    /// What could not be understood, one sentence each.
    pub faults: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            to: None,
            from: None,
            server: None,
            max_lines: Some(MAX_LINES),
            schedule: ClassExpr::parse(SCHEDULE).into_iter().collect(),
            files: Vec::new(),
            faults: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads the policy of this host.
    ///
    /// # Errors
    /// Everything that is wrong with the policy, with its place.
    pub fn read(paths: &Paths, host: &Host, now: &Zoned) -> Result<Settings, Vec<PolicyError>> {
        let mut context = facts::initial_context(host, now);
        context.define("from_cfexecd");
        let mut machine = Machine::new(paths, host.clone());
        let program = policy::load(
            "cfagent.conf".into(),
            Phase::Main,
            &Options::default(),
            context,
            &mut machine,
        )?;
        let mut settings = Settings::of(&program.context);
        settings.files = program.files;
        Ok(settings)
    }

    fn of(context: &Context) -> Settings {
        let mut settings = Settings::default();
        let words = |name: &str| -> Vec<String> {
            let list = context.list(name);
            let words = list.iter().map(|word| word.to_str_lossy().trim().to_string());
            words.filter(|word| !word.is_empty()).collect()
        };
        let mut mailbox = |name: &str| {
            let value = words(name).join(", ");
            let fit = address(&value);
            if fit.is_none() && !value.is_empty() {
                settings.faults.push(format!("{name} is no mail address: {value:?}"));
            }
            fit
        };
        let to = mailbox("EmailTo").or_else(|| mailbox("sysadm"));
        let from = mailbox("EmailFrom");
        (settings.to, settings.from) = (to, from);
        if let Some(value) = context.get("smtpserver").map(|value| context.expand(value.as_bstr())) {
            match value.to_str().ok().and_then(Server::parse) {
                Some(server) => settings.server = Some(server),
                None if value.trim().is_empty() => {}
                None => settings
                    .faults
                    .push(format!("smtpserver is no host name: {:?}", value.to_str_lossy())),
            }
        }
        match words("EmailMaxLines").last().map(|value| (value, value.parse())) {
            None => {}
            Some((value, _)) if value.eq_ignore_ascii_case("inf") => settings.max_lines = None,
            Some((_, Ok(lines))) => settings.max_lines = Some(lines),
            Some((value, Err(_))) => settings
                .faults
                .push(format!("EmailMaxLines is neither a number nor 'inf': {value:?}")),
        }
        let mut schedule = Vec::new();
        for words in words("schedule") {
            for word in words.split([':', ',', ' ', '\t']).filter(|word| !word.is_empty()) {
                match ClassExpr::parse(word) {
                    Ok(class) => schedule.push(class),
                    Err(why) => settings.faults.push(format!("schedule: {why}")),
                }
            }
        }
        if !schedule.is_empty() {
            settings.schedule = schedule;
        }
        settings
    }

    /// Whether the agent is due: one of the schedule's classes is true.
    pub fn due(&self, host: &Host, now: &Zoned) -> bool {
        let context = facts::initial_context(host, now);
        self.schedule.iter().any(|class| context.holds(class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(&str, &str)]) -> Settings {
        let mut context = Context::default();
        for (name, value) in values {
            context.set(name, *value);
        }
        Settings::of(&context)
    }

    fn at(text: &str) -> Zoned {
        format!("{text}[UTC]").parse().unwrap()
    }

    #[test]
    fn without_a_schedule_the_agent_is_due_once_an_hour_in_04() {
        let (settings, host) = (of(&[]), Host::default());
        assert!(settings.due(&host, &at("2026-11-21T09:00:30")));
        assert!(settings.due(&host, &at("2026-11-21T10:04:59")));
        assert!(!settings.due(&host, &at("2026-11-21T10:05:00")));
        assert!(!settings.due(&host, &at("2026-11-21T10:59:00")));
    }

    #[test]
    fn a_schedule_is_a_list_of_class_expressions() {
        let (settings, host) = (of(&[("schedule", "Min00_05:Hr02.Min30_35|Sunday")]), Host::default());
        assert!(settings.due(&host, &at("2026-11-21T02:31:00")));
        assert!(!settings.due(&host, &at("2026-11-21T03:31:00")));
        assert!(settings.due(&host, &at("2026-11-22T03:31:00")));
        let faulty = of(&[("schedule", "Min30_35:a)")]);
        assert_eq!(faulty.schedule.len(), 1);
        assert_eq!(faulty.faults.len(), 1);
    }

    #[test]
    fn sysadm_gets_the_mail_unless_email_to_is_set_and_addresses_are_checked() {
        assert_eq!(of(&[("sysadm", "a@b")]).to.as_deref(), Some("a@b"));
        assert_eq!(of(&[("sysadm", "a@b"), ("EmailTo", "c@d")]).to.as_deref(), Some("c@d"));
        let odd = of(&[("EmailTo", "a@b\nBcc: c@d"), ("EmailMaxLines", "many")]);
        assert_eq!((odd.to, odd.max_lines, odd.faults.len()), (None, Some(100), 2));
        let server = |text| of(&[("smtpserver", text)]).server.map(|server| server.to_string());
        assert_eq!(server("mail.example.com").as_deref(), Some("mail.example.com"));
        assert_eq!(
            server("mail.example.com:2525").as_deref(),
            Some("mail.example.com:2525")
        );
        assert_eq!(of(&[("smtpserver", "mail\r\nQUIT")]).faults.len(), 1);
        assert_eq!(of(&[("EmailMaxLines", "INF")]).max_lines, None);
        assert_eq!(of(&[("EmailMaxLines", "0")]).max_lines, Some(0));
    }
}
