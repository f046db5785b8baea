//! The packages, made once of what cargo built for the tests, and machines of their own to install them on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// True where the test can be made: as root, with these programs. In CI nothing is skipped.
pub fn able(programs: &[&str]) -> bool {
    let mut lacks: Vec<String> = Vec::new();
    let found = |name: &&&str| {
        let paths = std::env::var_os("PATH").unwrap();
        std::env::split_paths(&paths).any(|dir| dir.join(name).is_file())
    };
    lacks.extend(programs.iter().filter(|name| !found(name)).map(ToString::to_string));
    if !nix::unistd::geteuid().is_root() {
        lacks.push("root".into());
    }
    assert!(
        lacks.is_empty() || std::env::var_os("CI").is_none(),
        "missing: {lacks:?}"
    );
    if !lacks.is_empty() {
        eprintln!("skipped: needs {lacks:?}");
    }
    lacks.is_empty()
}

/// Runs a command and gives what it printed; a failure ends the test with all it said.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{out}\n{err}");
    out.into_owned()
}

/// A stand-in for cargo's target directory: the programs of the tests without symbols, which are most of their size.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("debug")).unwrap();
        for program in [env!("CARGO_BIN_EXE_dsau"), env!("CARGO_BIN_EXE_cfservd")] {
            let name = Path::new(program).file_name().unwrap();
            run(Command::new("strip")
                .arg("-o")
                .arg(dir.join("debug").join(name))
                .arg(program));
        }
        dir
    })
}

/// `make TARGET` with quick compression; gives the folder the packages are in.
fn made(target: &str, more: &[&str]) -> PathBuf {
    run(Command::new("make")
        .args([target, "PROFILE=debug", "RPMFLAGS=--define '_binary_payload w1.gzdio'"])
        .args(more)
        .current_dir(project())
        .env("CARGO_TARGET_DIR", built())
        .env("DPKG_DEB_COMPRESSOR_TYPE", "gzip")
        .env("DPKG_DEB_COMPRESSOR_LEVEL", "1")
        .env_remove("MAKEFLAGS"));
    built().join("packages")
}

/// The folder with the deb packages, and with `next.deb`: a later version, whose own rc file has another text.
pub fn deb() -> &'static Path {
    static DEB: OnceLock<PathBuf> = OnceLock::new();
    DEB.get_or_init(|| {
        let dir = made("deb", &[]);
        let script = "
            set -eu
            rm -rf next; dpkg-deb -R dsau_*.deb next
            sed -i 's/^Version:.*/Version: 99.0-1/' next/DEBIAN/control
            echo '# of the next version' >>next/etc/rc.config.d/cfservd
            (cd next && find . -type f ! -path './DEBIAN/*' -printf '%P\\0' | xargs -0 md5sum >DEBIAN/md5sums)
            dpkg-deb --root-owner-group -b next next.deb; rm -rf next";
        run(Command::new("sh")
            .args(["-c", script])
            .current_dir(&dir)
            .env("DPKG_DEB_COMPRESSOR_TYPE", "gzip")
            .env("DPKG_DEB_COMPRESSOR_LEVEL", "1"));
        dir
    })
}

/// The folder with the rpm packages.
pub fn rpm() -> &'static Path {
    static RPM: OnceLock<PathBuf> = OnceLock::new();
    RPM.get_or_init(|| made("rpm", &[]))
}

/// The folder with the depot, its serial form, and `depot/` with the PSF and the stage.
pub fn depot() -> &'static Path {
    static DEPOT: OnceLock<PathBuf> = OnceLock::new();
    DEPOT.get_or_init(|| made("depot", &[]))
}

/// Runs a script on a machine of its own, see `tests/packages/root`.
pub fn on_a_machine(packages: &Path, script: &str) -> String {
    let here = project().join("tests/packages");
    let prelude = std::fs::read_to_string(here.join("prelude")).unwrap();
    run(Command::new("unshare")
        .args([
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
            "--",
        ])
        .arg(here.join("root"))
        .arg(packages)
        .arg(format!("{prelude}\nVERSION={VERSION}\n{script}"))
        .stdin(std::process::Stdio::null()))
}

/// Runs a script that boots a machine with systemd as its pid 1, see `tests/packages/booted`. The commands of the machine are
/// words of the script: `host '...'`.
pub fn with_systemd(packages: &Path, script: &str) -> String {
    run(Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(project().join("tests/packages/booted"))
        .arg(packages)
        .arg(script)
        .env("VERSION", VERSION)
        .stdin(std::process::Stdio::null()))
}
