//! The program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tik_backup::main()
}
