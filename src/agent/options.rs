//! What the command line asks of a run.

use bstr::BString;

/// Options of one run, as far as the agent (not the tool) has to know them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// `-f`: this policy instead of `cfagent.conf`; the update phase is left out.
    pub file: Option<BString>,
    /// `-n`: say what would be done.
    pub dry_run: bool,
    /// `--diff`: show changes of content as unified diffs.
    pub diff: bool,
    /// `--exit-status`: end with 1 when a promise could not be kept.
    pub exit_status: bool,
    /// `-K`, `-A`: neither look at locks nor leave any.
    pub no_locks: bool,
    /// `-q`: no splay sleep.
    pub no_splay: bool,
    /// `-B`: only the update phase.
    pub update_only: bool,
    /// `-p`: read and check the policy only.
    pub parse_only: bool,
    /// Keep what the policy says besides its rules: it is judged or explained, not run.
    pub keep_text: bool,
    /// `-D`
    pub define: Vec<BString>,
    /// `-N`
    pub negate: Vec<BString>,
    /// `-H`: no hard classes.
    pub no_hard_classes: bool,
    /// `-U`: the hard class begins with an underscore.
    pub underscore_classes: bool,
    /// `-x`: no `cf.preconf`.
    pub no_preconf: bool,
    /// `-j`: only these entries of the action sequence.
    pub just: Vec<BString>,
    /// `-o`: not these entries of the action sequence.
    pub avoid: Vec<BString>,
    /// `-Q`: print these variables and leave.
    pub query: Option<Vec<BString>>,
    /// `-a`: print the address of the administrator and leave.
    pub print_sysadm: bool,
    /// `-z`: print the schedule and leave.
    pub print_schedule: bool,
    /// `-b`: copy over the network even where the server is this machine.
    pub force_net_copy: bool,
    /// `-L`: remove dead links in sweeps.
    pub delete_stale_links: bool,
    /// `-E`: make links even where files are in the way.
    pub enforce_links: bool,
    /// `-M`: no modules.
    pub no_modules: bool,
    /// `-Z`: the digest of the call of a method that this run is.
    pub method: Option<BString>,
    /// How this program is started once more, for methods; empty where it cannot be.
    pub program: Vec<BString>,
    /// `-u`: `CFALLCLASSES` in the environment of commands.
    pub use_env: bool,
    /// `-Y`: refuse policy files that others may write.
    pub secure_input: bool,
    /// Words of the action sequence that are switched off (`-s`, `-e`, `-t`, `-c`, `-k`, `-X`, `-i`, `-m`, `-C`, `-P`).
    pub off: Vec<&'static str>,
}

impl RunOptions {
    /// Whether the policy is one that was named, not the one of this machine.
    pub fn is_named(&self) -> bool {
        self.file.is_some() || self.method.is_some()
    }

    /// Whether locks count in this run (cfengine2.md 17).
    pub fn uses_locks(&self) -> bool {
        !(self.no_locks || self.dry_run || self.looks_only())
    }

    /// Whether the policy is only read: nothing of it is carried out.
    pub fn looks_only(&self) -> bool {
        self.parse_only || self.print_sysadm || self.print_schedule || self.query.is_some()
    }
}
