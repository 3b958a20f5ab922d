//! What TAB offers: commands, flags, and the project's own values; never a command that a customer's name hides.

use crate::support::servers::binary;
use crate::support::{Output, Project};

fn project(name: &str) -> Project {
    let project = Project::new(
        name,
        "[tenancy]\nmodel = \"row\"\ntable = \"company\"\nkey_column = \"id\"\ncolumn = \"company_id\"\nusers = false\n\n[env.staging]\n\n[env.production]\nprotected = true\n",
    );
    project.write("migrations/20250101000000_core.up.sql", "CREATE TABLE company (id text PRIMARY KEY, name text);");
    project.write("migrations/20250102000000_more.up.sql", "SELECT 1;");
    project.write("seeds/dev/postgres/company.toml", "[rows.one]\nid = \"one\"\n");
    project.write("seeds/demo/postgres/company.toml", "[rows.one]\nid = \"one\"\n");
    project.write(
        "smoke/own.toml",
        "[[test]]\nname = \"one\"\ntags = [\"quick\"]\n\n  [[test.step]]\n  postgres = \"SELECT 1\"\n",
    );
    project
}

/// What a shell is offered for the last word.
fn offered(project: &Project, shell: &str, words: &[&str]) -> Vec<String> {
    let mut all = vec!["--", "lyrox"];
    all.extend(words);
    let mut command = project.command(&all);
    let index = words.len().to_string();
    let output = command.env("LYROX_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", &index).output().expect("lyrox");
    let output = Output::new(&all, &output);
    output.ok();
    assert!(output.stderr.is_empty(), "{output}");
    let value = |line: &str| line.split(['\t', ':']).next().unwrap_or_default().to_owned();
    output.stdout.lines().map(value).collect()
}

#[test]
fn every_shell_is_offered_the_projects_own_values() {
    let project = project("completions");
    project.lyrox(&["db", "migrate"]).ok();
    project.write("list.csv", "key,name\nacme,Acme\n$(touch pwned),Bad\n'; id,Worse\n");
    project.lyrox(&["tenant", "create", "--from-file", "list.csv", "--no-credentials"]).ok();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert_eq!(offered(&project, shell, &["-e", ""]), ["local", "production", "staging"], "{shell}");
        assert_eq!(offered(&project, shell, &["db", "seed", "--set", ""]), ["demo", "dev"], "{shell}");
    }
    for shell in ["zsh", "fish"] {
        assert_eq!(
            offered(&project, shell, &["db", "rollback", "--to", "2025"]),
            ["20250102000000", "20250101000000"],
            "{shell}"
        );
        assert_eq!(offered(&project, shell, &["db", "smoke-test", "--tag", ""]), ["quick"], "{shell}");
        // A shell waits less than a second; a machine with other work may need longer.
        let tries = (0..20).map(|_| offered(&project, shell, &["tenant", "show", "ac"]));
        let found = tries.into_iter().find(|found| !found.is_empty());
        assert_eq!(found, Some(vec!["acme".to_owned()]), "{shell}");
        assert_eq!(offered(&project, shell, &["explain", "drift-ed"]), ["LYX-DRIFT-EDITED"], "{shell}");
        assert_eq!(offered(&project, shell, &["db", "mig"]), ["migrate"], "{shell}");
    }
    // A name that is to be new, a folder without a project and servers that are gone offer nothing and break nothing.
    assert!(!offered(&project, "fish", &["tenant", "create", ""]).contains(&"acme".to_owned()));
    assert!(!offered(&project, "fish", &["-C", "/", "tenant", "show", "a"]).contains(&"acme".to_owned()));
    project.write(
        ".env",
        "DATABASE_URL=postgres://u:p@127.0.0.1:1/x\nMONGODB_URI=mongodb://127.0.0.1:1\nREDIS_URL=redis://127.0.0.1:1\n",
    );
    assert!(!offered(&project, "fish", &["tenant", "show", "a"]).contains(&"acme".to_owned()));
}

/// The script in a real bash: what it puts on the line is one word, whatever a tenant is called.
#[test]
fn bash_completes_and_a_hostile_name_stays_a_word() {
    let project = project("completions_bash");
    project.lyrox(&["db", "migrate"]).ok();
    project.write("list.csv", "key,name\nacme,Acme\n$(touch pwned),Bad\n");
    project.lyrox(&["tenant", "create", "--from-file", "list.csv", "--no-credentials"]).ok();
    std::fs::create_dir(project.path("bin")).expect("a folder");
    std::os::unix::fs::symlink(binary(), project.path("bin/lyrox")).expect("a link");
    let complete = |words: &str, last: usize, after: &str| {
        let script = format!(
            "source <(lyrox completions bash); COMP_WORDS=({words}); COMP_CWORD={last}; COMP_TYPE=9; \
             _clap_complete_lyrox lyrox \"${{COMP_WORDS[COMP_CWORD]}}\" x; {after}"
        );
        let path = format!("{}:{}", project.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut bash = std::process::Command::new("bash");
        bash.args(["--norc", "-c", &script]).current_dir(project.root()).env_clear().env("PATH", path);
        let output = Output::new(&[words], &bash.output().expect("bash"));
        output.ok();
        output.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let print = "printf '%s\\n' \"${COMPREPLY[@]}\"";
    assert_eq!(complete("lyrox db rollback --to ''", 4, print), ["20250102000000", "20250101000000"]);
    assert_eq!(complete("lyrox -e sta", 2, print), ["staging"]);
    let has_tenants = |found: &Vec<String>| found.iter().any(|word| word.contains("acme"));
    let again = |after: &str| (0..20).map(|_| complete("lyrox tenant show ''", 3, after)).find(has_tenants);
    let tenants = again(print).expect("tenants");
    assert!(tenants.contains(&"'$(touch pwned)'".to_owned()), "{tenants:?}");
    // The line as Enter would run it.
    let run = "for word in \"${COMPREPLY[@]}\"; do case $word in -*) ;; *) eval \"printf '%s\\n' $word\" ;; esac; done";
    let words = again(run).expect("tenants");
    assert!(words.contains(&"$(touch pwned)".to_owned()) && words.contains(&"acme".to_owned()), "{words:?}");
    assert!(!project.path("pwned").exists(), "a name was run as a command");
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let project = project("completions_man");
    project.lyrox(&["man", "--dir", "man1"]).ok();
    let pages = std::fs::read_dir(project.path("man1")).expect("the pages").flatten();
    let mut count = 0;
    for page in pages {
        let text = std::fs::read_to_string(page.path()).expect("a page");
        // A page of a group lists its commands; each of those has its own examples.
        let examples = if text.contains("SUBCOMMANDS") { ".SH NAME" } else { "Examples:" };
        for part in [".TH lyrox", ".SH NAME", ".SH SYNOPSIS", examples] {
            assert!(text.contains(part), "{}: no {part}", page.path().display());
        }
        count += 1;
    }
    assert!(count > 40, "{count}");
    for name in ["lyrox.1", "lyrox-db-migrate.1", "lyrox-tenant-verify.1", "lyrox-url-inspect.1"] {
        assert!(project.path(&format!("man1/{name}")).is_file(), "{name}");
    }
}
