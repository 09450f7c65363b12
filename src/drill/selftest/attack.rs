//! Attacks that a backup could contain, run by a scratch server as its superuser. They must not reach anything outside of the
//! server's directory, although the user of the server has access to the files, the process and the port that are attacked.

use std::{
    fs::{self, Permissions},
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::{Bench, said};
use crate::{
    drill::pool::ScratchPool,
    error::{Error, Result},
    scratch::{ScratchDir, sandbox::owner},
    source::{
        subject::Target,
        verify::{Fault, Proven},
    },
};

/// The environment variable with the secret of the attacked process.
const VARIABLE: &str = "TIK_BACKUP_SELF_TEST";

/// The targets of attacks. A process that is not confined can reach all of them.
struct Targets {
    /// The two halves of the secret: statements name them separately, so that an echoed statement does not contain the whole secret.
    halves: [String; 2],
    folder: PathBuf,
    process: Child,
    listener: TcpListener,
    // Removed after the process has ended.
    _dir: ScratchDir,
}

impl Targets {
    fn new(dir: ScratchDir) -> Result<Self> {
        let failed =
            |error: std::io::Error| Error::from_io("cannot set up the targets of the attacks", error);
        let random = || {
            let mut bytes = [0_u8; 4];
            getrandom::fill(&mut bytes).map_err(|error| failed(std::io::Error::other(error.to_string())))?;
            Ok::<_, Error>(format!("{:08x}", u32::from_ne_bytes(bytes)))
        };
        let halves = [random()?, random()?];
        let folder = dir.path().join("outside");
        if folder.to_string_lossy().contains(['\'', '\\', '"', '{']) {
            return Err(Error::failed(format!(
                "the path {} cannot be used in a statement",
                folder.display()
            ))
            .hint("set `drill.dir` to a directory without quotes in its path"));
        }
        fs::create_dir(&folder).map_err(failed)?;
        fs::write(folder.join("canary"), halves.concat()).map_err(failed)?;
        // The confinement must protect them, not their permissions.
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).map_err(failed)?;
        fs::set_permissions(folder.join("canary"), Permissions::from_mode(0o644)).map_err(failed)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let mut sleep = Command::new("sleep");
        sleep.arg("3600").env(VARIABLE, halves.concat()).current_dir("/");
        sleep.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(owner) = owner::chosen() {
            // A process of the same user as the server.
            sleep.gid(owner.gid).uid(owner.uid);
        }
        let process = sleep.spawn().map_err(failed)?;
        Ok(Self { halves, folder, process, listener, _dir: dir })
    }

    /// A statement with its placeholders replaced by the targets.
    fn aim(&self, statement: &str) -> Result<String> {
        let port =
            self.listener.local_addr().map_err(|error| Error::from_io("no port to attack", error))?.port();
        let [first, second] = &self.halves;
        Ok(statement
            .replace("{canary}", &self.folder.join("canary").to_string_lossy())
            .replace("{folder}", &self.folder.to_string_lossy())
            .replace("{marker}", &self.folder.join("marker").to_string_lossy())
            .replace("{process}", &self.process.id().to_string())
            .replace("{port}", &port.to_string())
            .replace("{first}", first)
            .replace("{second}", second))
    }

    /// Removes files that an attack has left in the directory. Returns whether there were any.
    fn clear(&self) -> bool {
        let mut found = false;
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name() != "canary" {
                found = true;
                let path = entry.path();
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
        found
    }

    /// The harm that an attack has done, if any. `answer` is all output of the server.
    fn harm(&mut self, answer: &str) -> Option<&'static str> {
        if answer.contains(&self.halves.concat()) {
            return Some("the server read a protected file or variable");
        }
        if self.clear() {
            return Some("the server wrote outside of its directory");
        }
        if !matches!(self.process.try_wait(), Ok(None)) {
            return Some("the server ended another process");
        }
        self.listener.accept().is_ok().then_some("the server reached the network")
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Bench<'_> {
    /// Makes each attack of the subject on a restored item. Returns its name, whether it was prevented, and the answer.
    pub(super) fn attacks(&self, pool: &ScratchPool) -> Vec<(String, bool, String)> {
        let attacks = self.subject.attacks();
        if attacks.is_empty() {
            return Vec::new();
        }
        let made = ScratchDir::new(self.drill.dir.as_deref()).and_then(Targets::new);
        let mut targets = match made {
            Ok(targets) => targets,
            Err(error) => {
                return vec![("attacks".to_owned(), false, format!("not tried: {}", error.summary()))];
            }
        };
        let make = |(name, statement): &(&str, &str)| {
            let proven = match targets.aim(statement) {
                Ok(statement) => self.tampered(pool, Target::Item, None, Some(&statement)),
                Err(error) => Err(Fault::Failed(error)),
            };
            let (kept_off, by) = match (targets.harm(&answer(&proven)), &proven) {
                (Some(harm), _) => (false, harm.to_owned()),
                (None, Err(fault @ Fault::Refused(_))) => (true, format!("kept off: {}", said(fault))),
                // The statement ran; changes in the restored database itself are harmless.
                (None, Ok(_) | Err(Fault::Differs(_))) => (true, "kept off: it reached nothing".to_owned()),
                (None, Err(fault)) => (false, format!("it could not be tried: {}", said(fault))),
            };
            (format!("attack: {name}"), kept_off, by)
        };
        attacks.iter().map(make).collect()
    }
}

/// All texts of a result.
fn answer(proven: &Proven) -> String {
    match proven {
        Ok(proof) => proof.notes.join("\n"),
        Err(Fault::Differs(differences)) => differences.join("\n"),
        Err(Fault::Failed(error) | Fault::Cannot(error) | Fault::Refused(error)) => error.to_string(),
        Err(fault @ Fault::Alone(_)) => said(fault),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn harm_is_seen() {
        let mut targets = Targets::new(ScratchDir::new(None).unwrap()).unwrap();
        assert_eq!(targets.harm("ERROR: permission denied"), None);
        let statement = targets.aim("{first} {second}").unwrap();
        assert_eq!(targets.harm(&statement), None, "naming the halves is not reading the whole");
        let read = fs::read_to_string(targets.aim("{canary}").unwrap()).unwrap();
        assert_eq!(
            targets.harm(&format!("ERROR: loot: {read}")),
            Some("the server read a protected file or variable")
        );
        fs::write(targets.aim("{marker}").unwrap(), "").unwrap();
        assert_eq!(targets.harm(""), Some("the server wrote outside of its directory"));
        assert_eq!(targets.harm(""), None);
        fs::create_dir(targets.aim("{folder}/database").unwrap()).unwrap();
        fs::write(targets.aim("{folder}/database/table.ibd").unwrap(), "").unwrap();
        assert_eq!(targets.harm(""), Some("the server wrote outside of its directory"));
        assert_eq!(targets.harm(""), None);
        let port: u16 = targets.aim("{port}").unwrap().parse().unwrap();
        drop(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
        assert_eq!(targets.harm(""), Some("the server reached the network"));
        targets.process.kill().unwrap();
        targets.process.wait().unwrap();
        assert_eq!(targets.harm(""), Some("the server ended another process"));
    }
}
