//! What `control:` says about the run as a whole (cfengine2.md 12).

use bstr::{BString, ByteSlice};

use super::Run;
use super::job::{BytesPath, boolean};
use super::undo::Limits;
use crate::facts::Machine;
use crate::fsx::Sync;
use crate::policy::{Context, Ere};

impl Run<'_> {
    /// Takes the settings of the policy that is about to run.
    pub(super) fn take_settings(&mut self) {
        self.abort_classes = self.ctx.list("AbortClasses");
        self.dry |= self.is_on("DryRun");
        if self.dry {
            self.ctx.define("opt_dry_run");
        }
        self.report.levels.inform |= self.is_on("Inform");
        self.report.levels.verbose |= self.is_on("Verbose");
        self.report.levels.syslog = self.is_on("Syslog") && self.may_log();
        self.report.show_actions = self.is_on("ShowActions");
        if let Some(prefix) = self.setting("OutputPrefix") {
            self.report.set_prefix(&prefix.to_str_lossy());
        }
        if let Some(facility) = self.setting("SyslogFacility")
            && !self.report.set_facility(&facility.to_str_lossy())
        {
            self.report
                .error(format_args!("SyslogFacility: there is no facility {facility}"));
        }
        if let Some(word) = self.setting("Sync") {
            self.sync = Sync::named(&word).unwrap_or_else(|| {
                let text = format_args!("Sync is off, rename or full, not {word}: it is rename");
                self.report.error(text);
                Sync::default()
            });
        }
        self.memory.undo().set_limits(self.undo_limits());
        ignore_interfaces(&mut self.ctx, self.machine);
        if let Some(dir) = self.setting("moduledirectory") {
            self.machine.set_modules(dir.as_path());
        }
        if let Some(path) = self.setting("ChildLibPath") {
            self.machine.set_library_path(path.as_path().as_os_str());
        }
    }

    /// The expanded value of a control variable.
    pub fn setting(&self, name: &str) -> Option<BString> {
        setting(&self.ctx, name)
    }

    /// Whether a switch of `control:` is on.
    pub fn is_on(&self, name: &str) -> bool {
        is_on(&self.ctx, name, false)
    }

    /// Whether the system log may hear of this run: only from root, and of what is really done.
    pub(super) fn may_log(&self) -> bool {
        nix::unistd::geteuid().is_root() && !self.dry
    }

    /// `UndoDays`, `UndoSpace`: how long, and how much in megabytes, is kept of what runs change.
    fn undo_limits(&mut self) -> Limits {
        let mut limits = Limits::default();
        let mut number = |name: &str| {
            let text = self.setting(name)?;
            let number = text.to_str().ok().and_then(|text| text.trim().parse::<u32>().ok());
            if number.is_none() {
                self.report.error(format_args!("{name} is a number, not {text}"));
            }
            number
        };
        limits.days = number("UndoDays").unwrap_or(limits.days);
        limits.bytes = number("UndoSpace").map_or(limits.bytes, |megabytes| u64::from(megabytes) << 20);
        limits
    }

    /// `Umask`: the mode mask of commands and of files that editfiles makes, where their rules have none. Octal (quirk
    /// Q14).
    pub(super) fn umask(&self) -> u32 {
        self.setting("Umask")
            .and_then(|text| u32::from_str_radix(text.to_str().ok()?.trim(), 8).ok())
            .filter(|mask| *mask <= 0o777)
            .unwrap_or(0o077)
    }
}

/// `IgnoreInterfaceRegex`: network interfaces whose name it matches make neither classes nor variables.
pub(super) fn ignore_interfaces(context: &mut Context, machine: &mut Machine) {
    let pattern = setting(context, "IgnoreInterfaceRegex");
    let Some(regex) = pattern.and_then(|pattern| Ere::new(&pattern).ok()) else {
        return;
    };
    let Some((before, after)) = machine.ignore_interfaces(&|name| regex.matches(name.as_bytes())) else {
        return;
    };
    let kept = after.classes();
    for class in before.classes().iter().filter(|class| !kept.contains(class)) {
        context.undefine(class);
    }
    let now = after.variables();
    for (name, old) in before.variables() {
        match now.iter().find(|(other, _)| *other == name) {
            Some((_, new)) if *new == old => {}
            Some((_, new)) => context.set(format!("global.{name}"), new.as_str()),
            None => context.unset(format!("global.{name}")),
        }
    }
}

/// The expanded value of a control variable.
pub(super) fn setting(context: &Context, name: &str) -> Option<BString> {
    context.get(name).map(|text| context.expand(text.as_bstr()))
}

/// Whether a switch of `control:` is on.
pub(super) fn is_on(context: &Context, name: &str, default: bool) -> bool {
    setting(context, name)
        .and_then(|value| boolean(&value))
        .unwrap_or(default)
}
