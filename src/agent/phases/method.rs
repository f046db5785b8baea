//! `-Z DIGEST`: this run is a method that another run calls.

use std::collections::HashMap;

use bstr::BString;

use super::super::methods::Called;
use super::{Over, Whole};
use crate::policy::Phase;

impl Whole<'_> {
    /// Carries out the call with a digest, and writes its answer.
    pub(super) fn method(&mut self, digest: &BString, env: HashMap<BString, BString>) -> Result<(), Over> {
        let mut context = self.context(env)?;
        let parts = self.parts()?;
        let now = jiff::Timestamp::now().as_second();
        let called = match Called::open(parts.paths, digest, now) {
            Ok(called) => called,
            Err(why) => {
                parts.report.error(why);
                return Err(Over(1));
            }
        };
        let file = called.policy.0.to_string_lossy().into_owned();
        if !called.is_apart() {
            self.open_memory()?;
        }
        let parts = self.parts()?;
        if let Err(error) = called.enter() {
            parts.report.error(format_args!(
                "The owner, group, root or directory of the method: {error}"
            ));
            return Err(Over(1));
        }
        parts
            .machine
            .give_policy(called.policy.0.clone(), called.policy.1.clone());
        called.prepare(&mut context);
        let program = self.load(&file, Phase::Method, context)?.program;
        let parts = self.parts()?;
        let mut ready = called.check(&program.context);
        if ready.is_ok() && !parts.options.dry_run {
            ready = called.write_files(&program.context);
        }
        if let Err(why) = ready {
            parts.report.error(why);
            return Err(Over(1));
        }
        self.called = Some(called);
        self.phase(program, Phase::Method)?;
        let counts = self.counts;
        if let Some(Err(error)) = self.called.take().map(|called| called.finish(counts)) {
            let report = &mut self.parts()?.report;
            report.error(format_args!("The answer of the method cannot be written: {error}"));
            return Err(Over(1));
        }
        Ok(())
    }
}
