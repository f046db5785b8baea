//! Section keywords (cfengine2.md 6).

/// A section of a policy file. Synonyms share one value: `classes:` is [`Section::Groups`], `required:` is
/// [`Section::Disks`], `rename:` is [`Section::Disable`], `grant:` is [`Section::Admit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Section {
    Acl,
    Admit,
    Alerts,
    Binservers,
    Broadcast,
    Control,
    Copy,
    DefaultRoute,
    Deny,
    Directories,
    Disable,
    Disks,
    EditFiles,
    Files,
    Filters,
    Groups,
    Homeservers,
    Ignore,
    Import,
    Interfaces,
    Links,
    MailServer,
    Methods,
    MiscMounts,
    Mountables,
    Packages,
    Processes,
    Resolve,
    Scli,
    ShellCommands,
    Strategies,
    Tidy,
    Unmount,
}
