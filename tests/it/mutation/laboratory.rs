//! A project with one of everything, on a PostgreSQL and a Redis of its own: roles, functions and server settings are
//! shared by all databases of a server, and some of the breaks change them.

use std::process::{Command, Stdio};

use crate::support::Project;
use crate::support::servers::binary;

/// Servers of the test's own, stopped at its end.
pub struct Servers {
    folder: tempfile::TempDir,
    /// PostgreSQL as its superuser, without a database.
    pub superuser: Option<String>,
    /// Redis.
    pub redis: Option<String>,
}

impl Servers {
    /// Starts one store.
    pub fn start(store: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("lyrox-it-mutation-").tempdir().expect("a folder");
        std::fs::write(folder.path().join("lyrox.toml"), format!("[project]\nname = \"mutation\"\n[{store}]\n"))
            .expect("lyrox.toml");
        let up =
            Command::new(binary()).arg("-C").arg(folder.path()).arg("up").stdin(Stdio::null()).output().expect("up");
        assert!(up.status.success(), "{}{}", String::from_utf8_lossy(&up.stdout), String::from_utf8_lossy(&up.stderr));
        let urls = lyrox::servers::running(folder.path()).expect("running servers");
        let superuser = urls.postgres.and_then(|_| lyrox::servers::superuser_url(folder.path()).ok());
        Self { superuser, redis: urls.redis, folder }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _ =
            Command::new(binary()).arg("-C").arg(self.folder.path()).args(["-q", "down"]).stdin(Stdio::null()).output();
    }
}

/// A project of one store, its tenancy and what it declares.
pub fn project(name: &str, section: &str, env: &str) -> Project {
    let project = Project::new(name, "");
    let settings = format!(
        "[project]\nname = \"{}\"\n{}\n[tenancy]\ntable = \"org\"\nkey_column = \"id\"\ncolumn = \"orgId\"\n",
        project.name,
        section.replace("NAME", &project.name).replace("PREFIX", &project.prefix)
    );
    project.write("lyrox.toml", &settings);
    if !env.is_empty() {
        project.write(".env", env);
    }
    project
}
