//! A stand-in for ssh: hosts are directories, and their names say how they behave.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use assert_cmd::Command;

const SSH: &str = r#"#!/bin/sh
# Takes what ssh takes; its own messages go to the file of -E.
here=$(dirname "$0")
log=/dev/stderr user= port=22 batch=no
while [ $# -gt 0 ]; do
    case $1 in
    -E) log=$2; shift 2 ;;
    -p) port=$2; shift 2 ;;
    -l) user=$2; shift 2 ;;
    -o) [ "$2" != BatchMode=yes ] || batch=yes; shift 2 ;;
    -G) config=yes; shift ;;
    -T | -a | -x) shift ;;
    --) shift; break ;;
    *) break ;;
    esac
done
host=$1
shift
if [ "$config" ]; then
    printf 'hostname %s\nport %s\nuserknownhostsfile %s/known_hosts\nidentityfile ~/.ssh/id_rsa\n' "$host" "$port" "$here"
    exit
fi
echo "$host" >>"$here/called"
case $host in
down*) echo "ssh: connect to host $host port $port: Connection refused" >>"$log"; exit 255 ;;
nix*) echo "ssh: Could not resolve hostname $host: Name or service not known" >>"$log"; exit 255 ;;
changed*) echo '@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @' >>"$log"; exit 255 ;;
new*)
    # Not known, and no key installed, at first; asks for a password where it may.
    grep -qs "^$host " "$here/known_hosts" || { echo 'Host key verification failed.' >>"$log"; exit 255; }
    [ -s "$here/$host/.ssh/authorized_keys" ] || [ $batch = no ] ||
        { echo "root@$host: Permission denied (publickey,password)." >>"$log"; exit 255; } ;;
noauth*) echo "root@$host: Permission denied (publickey)." >>"$log"; exit 255 ;;
esac
HOME=$here/$host SHELL=/bin/sh HOST=$host SSHUSER=$user SSHPORT=$port
export HOME SHELL HOST SSHUSER SSHPORT
mkdir -p "$HOME"
cd "$HOME"
exec /bin/sh -c "$*"
"#;

/// The hosts of one test.
pub struct Hosts {
    /// Each host's home is a directory in here.
    pub dir: tempfile::TempDir,
}

impl Hosts {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ssh = dir.path().join("ssh");
        std::fs::write(&ssh, SSH).unwrap();
        std::fs::set_permissions(&ssh, PermissionsExt::from_mode(0o755)).unwrap();
        Hosts { dir }
    }

    /// A host's home directory, made if need be.
    pub fn home(&self, host: &str) -> PathBuf {
        let home = self.dir.path().join(host);
        std::fs::create_dir_all(&home).unwrap();
        home
    }

    /// A tool that uses this stand-in, in an environment without other targets.
    pub fn tool(&self, name: &str) -> Command {
        self.program(assert_cmd::cargo::cargo_bin(name))
    }

    /// The multi-call file, called by the name of another tool.
    pub fn spelled(&self, name: &str) -> Command {
        let dir = self.dir.path().join("spellings");
        std::fs::create_dir_all(&dir).unwrap();
        let link = dir.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(assert_cmd::cargo::cargo_bin("dsau"), &link).unwrap();
        }
        self.program(link)
    }

    fn program(&self, path: PathBuf) -> Command {
        let mut command = Command::new(path);
        command
            .env("DSAU_SSH", self.dir.path().join("ssh"))
            .env("DSAU_ROOT", self.dir.path().join("root"))
            .env_remove("WCOLL")
            .env_remove("CFANOUT_HOSTS")
            .timeout(std::time::Duration::from_secs(60));
        command
    }

    /// The hosts that were called, one for each call.
    pub fn called(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("called")).unwrap_or_default();
        text.lines().map(str::to_string).collect()
    }
}
