//! `csync_wizard` (see its man page).
fn main() -> std::process::ExitCode {
    dsau::tools::run(&dsau::tools::csync::csync_wizard::TOOL)
}
