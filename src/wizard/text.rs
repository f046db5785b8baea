//! Every screen and progress line, word for word as in the manual (CW-01 … CW-20, CM-01 … CM-11, CC-02 … CC-04), and how
//! they are folded. Curly quotes of the print are plain here (`share/doc/deviations.md`).

/// Width of a screen.
const WIDTH: usize = 80;

/// CW-01.
pub fn querying(host: &str) -> String {
    format!("Querying the system {host} for current status, one moment...")
}

/// CW-02.
pub const INTRODUCTION: &str = "\
This Configuration Synchronization Wizard (csync_wizard) helps you set up the Configuration Engine (cfengine) environment. \
Cfengine is a powerful tool for performing policy-based management for groups of systems and cluster environments.\n\n\
csync_wizard is a client/server based utility. With csync_wizard, the user can configure a standalone system or Serviceguard \
cluster as the cfengine \"master\". The master contains the configuration description and configuration files that will be \
used by all the clients. Clients copy the configuration description from the master and apply it to themselves. The \
configuration description supports a rich set of management actions such as copying configuration files from the master to \
the client, performing edits to files, checking file ownerships, permissions, and checksums, executing shell commands, \
checking for processes, etc. For a detailed description of the cfengine management actions, please refer to the cfengine man \
page.\n\n\
The csync wizard helps you set up this system as a cfengine master, add or remove cfengine-managed clients, and perform the \
required security setup.";

/// CW-03.
pub const PAUSE: &str = "Press \"Enter\" to continue...";

/// CW-04 … CW-10.
pub const MENU: &str = concat!(
    "Configuration Synchronization Wizard Menu\n",
    "=========================================\n",
    "\n",
    "  (1) Set up a cfengine master server\n",
    "  (2) Add a client\n",
    "  (3) Remove a client\n",
    "  (4) Manage keys for cfengine clients\n",
    "  (5) Display current configuration\n",
    "  (9) Exit\n",
);

/// CM-01.
pub fn configured_on(host: &str) -> String {
    format!("The cfengine master server is being configured on: {host}")
}

/// CM-02, before the question.
pub const CLIENTS: &str = "You can optionally specify additional remote clients to manage at this time. If you are running in an HA \
environment, you do not need to specify the cluster members.\n";

/// CW-16, CM-03.
pub const WARNING: &str = "\
******* WARNING!!!! ********\n\
To protect against possible corruption of sensitive configuration files, control-c has been disabled for the remainder of \
this configuration.";

/// CM-03.
pub const STARTING: &str = "Configuration of the cfengine master server is starting.";

/// CW-17, CM-04.
pub fn saved_at(dir: &str) -> String {
    format!("Configuration files have been saved at {dir}")
}

/// CM-05.
pub const KEYS_MADE: &str = "cfengine keys are being created...";

/// CM-06.
pub const KEYS_SENT: &str = "cfengine keys have been created, now distributing....";

/// CM-07.
pub const HOSTS: &str = "Verifying that the master has an entry in the /etc/hosts file on each client...";

/// CM-08.
pub const RUNNING: &str =
    "Starting cfengine on the master server and any managed clients. This may take a few minutes....";

/// CM-09.
pub fn completed(main: &str, manuals: &str) -> String {
    format!(
        "The Configuration Synchronization Wizard has completed the configuration of cfengine:\n\n\
         - The master configuration description template is here:\n  <{main}>\n\n\
         This default template has examples of typical configuration synchronization actions performed in a cluster. For \
         example, synchronizing critical files such as /etc/hosts, package scripts, etc.\n\n\
         All the actions in the template are disabled by default (commented out). Uncomment the lines corresponding to the \
         desired synchronization actions for the cluster. See the cfengine reference documentation for a description of \
         additional cfengine features: {manuals}/"
    )
}

/// CM-10.
pub fn environment(master: &str, clients: &[String]) -> String {
    let mut text = format!(
        "The cfengine environment consists of:\n\nMaster server (policy host):\n    {master}\n\nManaged clients:\n"
    );
    for client in clients {
        text.push_str(&format!("    {client}\n"));
    }
    text
}

/// CM-11, CW-19.
pub fn answers(file: &str, wizard: &str) -> String {
    format!(
        "A file containing the answers for this run of the Configuration Synchronization Wizard is stored here...\n\n\
         {file}\n\n\
         This configuration can be reestablished by issuing the following command:\n\n\
         {wizard} \\\n  -f {file}"
    )
}

/// CC-02.
pub const ADD: &str = "This option will configure additional clients to the cfengine domain.";

/// CC-04.
pub fn added(name: &str) -> String {
    format!("The client {name} has been added to the cfengine domain")
}

/// Option 3; the manual has no text for it.
pub const REMOVE: &str = "This option will remove a client from the cfengine domain.";

/// Option 3.
pub fn removed(name: &str) -> String {
    format!("The client {name} has been removed from the cfengine domain")
}

/// Option 4; the manual has no text for it.
pub const KEYS: &str = "This option will create new cfengine keys on the master server and on all managed clients, and distribute \
them. Every managed client must be reachable; otherwise nothing is changed.";

/// CW-21: what starts cfagent here while the configuration changes.
pub fn scheduler(init: &std::path::Path) -> String {
    format!(
        "cfexecd is running on this system. It may start cfagent while the configuration is being changed: stop it for the time \
         being with '{} stop'.\n",
        init.join("cfexecd").display()
    )
}

/// What the last run left.
pub fn interrupted(doing: &str) -> String {
    format!("\nThe last run of this wizard was interrupted while it {doing}.")
}

/// After taking it back.
pub const TAKEN_BACK: &str = "Its changes have been taken back.";

/// The same for a run that left no word of what it did.
pub const FILES_TAKEN_BACK: &str = "\nThe last run of this wizard was interrupted. Its changes to the configuration files of this \
                                    system have been taken back.";

/// Half of the systems may have new keys.
pub const KEYS_GO_ON: &str =
    "\nThe last run of this wizard was interrupted while it took new keys into use. That is being finished now.";

/// After a run in which not all went well.
pub fn remaining(done: usize, all: usize) -> String {
    let them = if all - done == 1 { "the other one" } else { "the others" };
    format!(
        "{done} of {all} clients are configured. 'csync_wizard --retry' configures {them}, once what is wrong has been put right."
    )
}

/// Folds paragraphs at 80 columns. Lines keep their breaks and their indent.
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for (n, line) in text.split('\n').enumerate() {
        if n > 0 {
            out.push('\n');
        }
        fold_line(line, &mut out);
    }
    out
}

fn fold_line(line: &str, out: &mut String) {
    if line.chars().count() <= WIDTH {
        out.push_str(line);
        return;
    }
    let indent = &line[..line.len() - line.trim_start().len()];
    let mut column = 0;
    for word in line.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out.push_str(indent);
            column = indent.chars().count();
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screens_are_folded_at_80_columns_and_lose_no_word() {
        for text in [INTRODUCTION, CLIENTS, WARNING, RUNNING, KEYS] {
            let folded = fold(text);
            assert!(folded.lines().all(|line| line.chars().count() <= WIDTH), "{folded}");
            assert_eq!(
                folded.split_whitespace().collect::<Vec<_>>(),
                text.split_whitespace().collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn short_lines_breaks_and_a_word_that_is_too_long_stay() {
        assert_eq!(fold(MENU), MENU);
        let long = format!("a {} b", "x".repeat(100));
        assert_eq!(fold(&long), format!("a\n{}\nb", "x".repeat(100)));
    }
}
