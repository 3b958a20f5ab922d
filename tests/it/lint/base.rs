//! `--base`: only what is new since a branch left, as git sees it.

use std::path::Path;
use std::process::Command;

use super::{DROPS, Folder};

fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A repository whose `main` has a bad migration, in a folder below its root, and a branch that left it.
fn repository() -> Folder {
    let folder =
        Folder::new("").write("migrations/1_old.up.sql", DROPS).write("migrations/2_mine.up.sql", "SELECT 1;\n");
    git(folder.path(), &["init", "-q", "-b", "main"]);
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "-qm", "one"]);
    git(folder.path(), &["checkout", "-qb", "feature"]);
    folder
}

#[test]
fn only_new_and_changed_files_are_told() {
    let folder = repository();
    folder.lyrox(&["db", "lint", "--base", "main"]).ok().says("nothing found in 0 files");
    folder.lyrox(&["db", "lint"]).exit(1);
    // Untracked, committed, changed and not committed, renamed.
    folder.put("migrations/3_untracked.up.sql", DROPS);
    folder.put("migrations/4_committed.up.sql", DROPS);
    git(folder.path(), &["add", "migrations/4_committed.up.sql"]);
    git(folder.path(), &["commit", "-qm", "two"]);
    folder.put("migrations/2_mine.up.sql", DROPS);
    let files: Vec<_> = folder.rules(&["--base", "main"]).into_keys().collect();
    assert_eq!(files, ["migrations/2_mine.up.sql", "migrations/3_untracked.up.sql", "migrations/4_committed.up.sql"]);
    git(folder.path(), &["checkout", "-q", "migrations/2_mine.up.sql"]);
    git(folder.path(), &["mv", "migrations/1_old.up.sql", "migrations/5_moved.up.sql"]);
    let files: Vec<_> = folder.rules(&["--base", "main", "migrations/5_moved.up.sql"]).into_keys().collect();
    assert_eq!(files, ["migrations/5_moved.up.sql"]);
}

#[test]
fn what_came_to_the_base_later_is_not_new() {
    let folder = repository();
    git(folder.path(), &["checkout", "-q", "main"]);
    folder.put("migrations/2_mine.up.sql", DROPS);
    git(folder.path(), &["commit", "-qam", "main goes on"]);
    git(folder.path(), &["checkout", "-q", "feature"]);
    folder.lyrox(&["db", "lint", "--base", "main"]).ok().says("in 0 files");
}

#[test]
fn a_project_below_the_repositorys_root_is_found() {
    let outer = Folder::new("");
    let inner = "services/shop";
    outer.put(&format!("{inner}/lyrox.toml"), "[project]\nname = \"shop\"\n[postgres]\n");
    outer.put(&format!("{inner}/migrations/1_a.up.sql"), DROPS);
    git(outer.path(), &["init", "-q", "-b", "main"]);
    git(outer.path(), &["add", "."]);
    git(outer.path(), &["commit", "-qm", "one"]);
    outer.put(&format!("{inner}/migrations/2_b.up.sql"), DROPS);
    let (_, found) = super::found(&outer.path().join(inner), &["--base", "main"]);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["migrations/2_b.up.sql"]);
}

#[test]
fn the_whole_series_is_judged_even_then() {
    let folder = Folder::new("[tenancy]\ncolumn = \"company_id\"\nglobal = [\"companies\"]\n").write(
        "migrations/1_a.up.sql",
        "CREATE TABLE orders (id uuid PRIMARY KEY, company_id uuid NOT NULL);\n\
         ALTER TABLE orders ENABLE ROW LEVEL SECURITY;\nALTER TABLE orders FORCE ROW LEVEL SECURITY;\n\
         CREATE POLICY t ON orders USING (company_id = nullif(current_setting('app.tenant', true), '')::uuid);\n",
    );
    git(folder.path(), &["init", "-q", "-b", "main"]);
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "-qm", "one"]);
    folder.put("migrations/2_b.up.sql", "ALTER TABLE orders NO FORCE ROW LEVEL SECURITY;\n");
    let run = folder.lyrox(&["db", "lint", "--base", "main"]);
    run.exit(1).says("tenant-rls-not-forced").says("migrations/2_b.up.sql:1:20");
}

#[test]
fn a_script_whose_included_file_changed_is_new() {
    let folder =
        Folder::new("").write("migrations/1_a.up.redis", "EVAL @f.lua 0\n").write("migrations/f.lua", "return 1\n");
    git(folder.path(), &["init", "-q", "-b", "main"]);
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "-qm", "one"]);
    folder.lyrox(&["db", "lint", "--base", "main"]).ok().says("in 0 files");
    folder.put("migrations/f.lua", "return redis.call('KEYS', '*')\n");
    assert_eq!(folder.rules(&["--base", "main"]).into_keys().collect::<Vec<_>>(), ["migrations/1_a.up.redis"]);
}

#[test]
fn what_git_cannot_tell_is_an_error_with_its_own_code() {
    let folder = Folder::new("").write("migrations/1_a.up.sql", "SELECT 1;\n");
    folder.lyrox(&["db", "lint", "--base", "main"]).exit(2).says("LYX-GIT").says("in no git repository");
    let folder = repository();
    folder.lyrox(&["db", "lint", "--base", "nowhere"]).exit(2).says("git knows no revision `nowhere`");
    // A revision is never taken for an option.
    folder.lyrox(&["db", "lint", "--base=--output=stolen"]).exit(2).says("LYX-GIT");
    assert!(!folder.path().join("stolen").exists());
    git(folder.path(), &["checkout", "-q", "--orphan", "alone"]);
    git(folder.path(), &["commit", "-qm", "other history"]);
    folder.lyrox(&["db", "lint", "--base", "main"]).exit(2).says("no common history").says("git fetch --unshallow");
    let mut command = Command::new(crate::support::servers::binary());
    let output =
        command.args(["db", "lint", "--base", "main"]).current_dir(folder.path()).env("PATH", "/nowhere").output();
    let output = output.expect("lyrox");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the program `git` was not found"));
}
