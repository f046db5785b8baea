//! The multi-call driver over the table of all tools.
fn main() -> std::process::ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    std::process::ExitCode::from(dsau::tools::dsau::dispatch(&args).code())
}
