//! Echo servers in other languages, for `--peers all`. Their sources are in the folder `rivals`.

use std::env::temp_dir;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::peers::Rival;

/// Each rival has a label, a command that builds its program, and a package of Debian.
pub(crate) const RIVALS: [(Rival, &str, &[&str], &str); 4] = [
    (Rival::Pthreads, "C, pthreads", &["cc", "-O2", "-pthread", "-o", "{program}", "{source}.c"], "gcc"),
    (Rival::Go, "Go", &["go", "build", "-o", "{program}", "{source}.go"], "golang-go"),
    (Rival::Python, "Python, socketserver", &["python3", "-m", "py_compile", "{source}.py"], "python3"),
    (Rival::EventMachine, "Ruby, EventMachine", &["ruby", "-c", "{source}.rb"], "ruby-eventmachine"),
];

fn source() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/servers/rivals/echo"))
}

/// Returns the path of the program that is built.
fn program(rival: Rival) -> PathBuf {
    temp_dir().join(format!("backport-bench-{rival:?}-{}", std::process::id()))
}

/// Builds the programs, and returns those that can run, with their labels. Says what to install for the others.
pub(crate) fn build() -> Vec<(&'static str, Rival)> {
    let mut built = Vec::new();
    for (rival, label, words, package) in RIVALS {
        match run(rival, words) {
            Ok(()) => built.push((label, rival)),
            Err(error) => eprintln!("{label} is left out: {error}; on Debian, install the package {package}"),
        }
    }
    built
}

fn run(rival: Rival, words: &[&str]) -> io::Result<()> {
    let paths = [("{program}", program(rival)), ("{source}", source())];
    let words = words.iter().map(|word| {
        paths
            .iter()
            .fold((*word).to_owned(), |word, (name, path)| word.replace(name, &path.to_string_lossy()))
    });
    let words: Vec<String> = words.collect();
    let mut command = Command::new(&words[0]);
    // Python writes the compiled file there, and not beside the source.
    command.env("PYTHONPYCACHEPREFIX", temp_dir()).stdout(Stdio::null());
    let status = command.args(&words[1..]).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("`{}` ended with {status}", words.join(" "))));
    }
    Ok(())
}

/// Returns the command that runs the program.
pub(crate) fn command(rival: Rival) -> Command {
    let (interpreter, extension) = match rival {
        Rival::Pthreads | Rival::Go => return Command::new(program(rival)),
        Rival::Python => ("python3", "py"),
        Rival::EventMachine => ("ruby", "rb"),
    };
    let mut command = Command::new(interpreter);
    command.arg(source().with_extension(extension));
    command
}

/// Removes what was built.
pub(crate) fn remove() {
    for rival in [Rival::Pthreads, Rival::Go] {
        // The file does not exist if the program was not built.
        drop(std::fs::remove_file(program(rival)));
    }
}
