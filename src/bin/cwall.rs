//! `cwall` (see its man page).
fn main() -> std::process::ExitCode {
    dsau::tools::run(&dsau::tools::fan::cwall::TOOL)
}
