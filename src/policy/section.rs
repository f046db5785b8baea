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

/// Every keyword; the first of a section is its own name.
static KEYWORDS: &[(&str, Section)] = &[
    ("acl", Section::Acl),
    ("admit", Section::Admit),
    ("grant", Section::Admit),
    ("alerts", Section::Alerts),
    ("binservers", Section::Binservers),
    ("broadcast", Section::Broadcast),
    ("control", Section::Control),
    ("copy", Section::Copy),
    ("defaultroute", Section::DefaultRoute),
    ("deny", Section::Deny),
    ("directories", Section::Directories),
    ("disable", Section::Disable),
    ("rename", Section::Disable),
    ("disks", Section::Disks),
    ("required", Section::Disks),
    ("editfiles", Section::EditFiles),
    ("files", Section::Files),
    ("filters", Section::Filters),
    ("groups", Section::Groups),
    ("classes", Section::Groups),
    ("homeservers", Section::Homeservers),
    ("ignore", Section::Ignore),
    ("import", Section::Import),
    ("interfaces", Section::Interfaces),
    ("links", Section::Links),
    ("mailserver", Section::MailServer),
    ("methods", Section::Methods),
    ("miscmounts", Section::MiscMounts),
    ("mountables", Section::Mountables),
    ("packages", Section::Packages),
    ("processes", Section::Processes),
    ("resolve", Section::Resolve),
    ("scli", Section::Scli),
    ("shellcommands", Section::ShellCommands),
    ("strategies", Section::Strategies),
    ("tidy", Section::Tidy),
    ("unmount", Section::Unmount),
];

impl Section {
    /// The section of a keyword, in any case (quirk Q2).
    pub fn from_keyword(word: &[u8]) -> Option<Section> {
        KEYWORDS
            .iter()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word))
            .map(|(_, section)| *section)
    }

    /// Every keyword, synonyms too.
    pub fn keywords() -> impl Iterator<Item = &'static str> {
        KEYWORDS.iter().map(|(name, _)| *name)
    }

    /// The name of the section.
    pub fn name(self) -> &'static str {
        KEYWORDS
            .iter()
            .find(|(_, section)| *section == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether the server reads it (cfservd.conf).
    pub fn in_server(self) -> bool {
        self.in_both() || matches!(self, Section::Admit | Section::Deny)
    }

    /// Whether both kinds of files may hold it.
    pub fn in_both(self) -> bool {
        matches!(self, Section::Control | Section::Groups | Section::Import)
    }

    /// Whether its entries stand in braces.
    pub(super) fn braces(self) -> bool {
        matches!(
            self,
            Section::Acl | Section::EditFiles | Section::Filters | Section::Strategies
        )
    }
}
