//! Reading the policy of a phase, with the last good one behind it.

use std::sync::Arc;

use bstr::ByteSlice;

use super::super::lastgood::{self, Generation, Reader, check_private};
use super::super::say::{say_errors, say_warnings};
use super::super::settings::is_on;
use super::{Over, UPDATE, Whole};
use crate::policy::{self, Context, Phase, PolicyError, Pos, Program};

/// A policy that can run.
pub(super) struct Loaded {
    pub program: Program,
    /// The files as they are.
    pub read: Generation,
    /// What is wrong with them; the program is then the last good one.
    pub errors: Vec<PolicyError>,
}

impl Whole<'_> {
    /// Reads a policy. A broken one is told; where the last good one is known, that one is given instead.
    pub(super) fn load(&mut self, entry: &str, phase: Phase, context: Context) -> Result<Loaded, Over> {
        let (result, read) = self.read(entry, phase, context.clone())?;
        let parts = self.parts()?;
        let errors = match result {
            Ok(program) => {
                return Ok(Loaded {
                    program,
                    read,
                    errors: Vec::new(),
                });
            }
            Err(errors) => errors,
        };
        say_errors(&mut parts.report, &errors);
        let kept = parts.memory.store().filter(|_| !parts.options.is_named());
        let kept = kept.and_then(|store| Generation::load(store, kept_as(phase)).ok());
        let Some(kept) = kept.filter(|kept| !kept.is_empty()) else {
            return Err(Over(1));
        };
        let since = jiff::Timestamp::from_second(kept.since).unwrap_or_default();
        let mut reader = Reader::replaying(parts.machine, kept);
        let check = policy::Options::default();
        let program = policy::load(entry.as_bytes().as_bstr(), phase, &check, context, &mut reader);
        let program = program.map_err(|_| Over(1))?;
        let when = since
            .to_zoned(parts.now.time_zone().clone())
            .strftime("%Y-%m-%d %H:%M:%S");
        parts.report.error(format_args!(
            "{entry} is broken, see above: running the last policy that was in order, read first {when}"
        ));
        self.outdated = true;
        Ok(Loaded { program, read, errors })
    }

    /// After the update phase: what it brought is looked at now, not by the next run only. A broken `update.conf` is
    /// told while whoever sent it looks; with a mended one all is well again. `before` are the files the phase was read
    /// from, `told` what was wrong with them.
    pub(super) fn arrived(&mut self, before: &Generation, told: &[PolicyError], context: Context) -> Result<(), Over> {
        let parts = self.parts()?;
        if parts.options.dry_run || (told.is_empty() && before.is_current(parts.machine)) {
            return Ok(());
        }
        match self.read(UPDATE, Phase::Update, context)?.0 {
            Ok(_) => self.outdated = false,
            Err(errors) if errors == told => {}
            Err(errors) => {
                self.outdated = true;
                let report = &mut self.parts()?.report;
                say_errors(report, &errors);
                report.error(format_args!(
                    "the {UPDATE} that was fetched is broken, see above: the last one that was in order stays in force"
                ));
            }
        }
        Ok(())
    }

    /// Reads the files as they are. What is in order is the last good policy from now on.
    #[allow(clippy::type_complexity)]
    fn read(
        &mut self,
        entry: &str,
        phase: Phase,
        context: Context,
    ) -> Result<(Result<Program, Vec<PolicyError>>, Generation), Over> {
        let parts = self.parts()?;
        let check = policy::Options {
            any_section: parts.options.parse_only,
            keep_text: parts.options.keep_text,
        };
        let now = parts.now.timestamp().as_second();
        let mut reader = Reader::recording(parts.machine, now, parts.options.secure_input);
        let loaded = policy::load(entry.as_bytes().as_bstr(), phase, &check, context, &mut reader);
        let read = reader.read;
        for note in parts.machine.take_notes() {
            parts.report.verbose(note);
        }
        let loaded = loaded.and_then(|program| {
            // `Warnings = ( off )` is about this policy.
            parts.report.levels.no_warnings |= !is_on(&program.context, "Warnings", true);
            say_warnings(&mut parts.report, &program.warnings);
            check_files(program)
        });
        // A policy named by hand stands for itself: there is no earlier one, and it becomes none.
        let keeps = !parts.options.is_named() && !parts.options.dry_run;
        if let (Ok(program), Some(store)) = (&loaded, parts.memory.store())
            && !program.files.is_empty()
        {
            let kept = match keeps {
                true => read.keep(store, kept_as(phase)),
                false => Ok(read.clone()),
            };
            let stands = kept.and_then(|kept| match keeps && phase == Phase::Main {
                true => {
                    let standing = kept.stand(store, program)?;
                    parts.sources.runs(&standing);
                    Ok(standing.id)
                }
                false => Ok(kept.id()),
            });
            match stands {
                Ok(id) => parts.memory.undo().set_policy(&id),
                Err(error) => parts
                    .report
                    .error(format_args!("Cannot keep this policy as the last good one: {error}")),
            }
        }
        Ok((loaded, read))
    }
}

/// The name under which the last good policy of a phase is kept.
fn kept_as(phase: Phase) -> &'static str {
    match phase {
        Phase::Update => lastgood::UPDATE,
        _ => lastgood::MAIN,
    }
}

/// `SecureInput = ( on )`: every file of the policy is ours alone (quirk QN16: the original took no notice).
fn check_files(program: Program) -> Result<Program, Vec<PolicyError>> {
    let secure = program.context.get("SecureInput");
    if secure.and_then(|value| super::super::job::boolean(&value)) != Some(true) {
        return Ok(program);
    }
    let wrong = |file: &std::path::PathBuf| {
        let error = check_private(file).err()?;
        let file: Arc<str> = Arc::from(file.to_string_lossy().as_ref());
        Some(PolicyError {
            pos: Pos { file, line: 1, col: 1 },
            message: format!("SecureInput: {error}"),
            hint: None,
            excerpt: None,
        })
    };
    let errors: Vec<PolicyError> = program.files.iter().filter_map(wrong).collect();
    if errors.is_empty() { Ok(program) } else { Err(errors) }
}
