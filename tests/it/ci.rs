//! The kit for pipelines: the shell of the action, of the workflow and of the GitLab recipe is taken from their
//! files and run here as a runner would, on real servers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::setup::Alone;
use crate::support::servers::binary;
use crate::support::{Output, Project};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(repository().join(file)).expect("a file of the kit")
}

/// One step of a composite action.
#[derive(Debug, Default)]
struct Step {
    name: String,
    variables: Vec<(String, String)>,
    script: String,
}

/// What `action.yml` says: the defaults of its inputs, and its steps.
fn action() -> (BTreeMap<String, String>, Vec<Step>) {
    let text = read("action.yml");
    let (head, steps) = text.split_once("\n  steps:\n    #").expect("steps");
    let mut defaults = BTreeMap::new();
    let mut name = String::new();
    let inputs = head.split("\ninputs:\n").nth(1).expect("inputs").split("\noutputs:").next().expect("inputs");
    for line in inputs.lines() {
        if let Some(default) = line.strip_prefix("    default: ") {
            defaults.insert(name.clone(), default.trim_matches('"').to_owned());
        } else if let Some(input) = line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')) {
            name = input.to_owned();
        }
    }
    let mut found: Vec<Step> = Vec::new();
    let mut part = "";
    for line in steps.lines() {
        if let Some(name) = line.strip_prefix("    - name: ") {
            found.push(Step { name: name.to_owned(), ..Step::default() });
            part = "";
        } else if let Some(step) = found.last_mut() {
            match line {
                "      env:" => part = "env",
                "      run: |" => part = "run",
                _ if part == "env" => {
                    let (name, value) = line.trim().split_once(": ").expect("a variable");
                    step.variables.push((name.to_owned(), value.to_owned()));
                }
                _ if part == "run" && line.starts_with("        ") => {
                    step.script.push_str(&line[8..]);
                    step.script.push('\n');
                }
                _ => {}
            }
        }
    }
    (defaults, found)
}

/// A runner: a workspace with the project below it, the files that GitHub hands to a step.
struct Runner {
    folder: tempfile::TempDir,
    /// The project, in a folder of the workspace.
    app: PathBuf,
}

impl Runner {
    fn new(project: &Project) -> Self {
        let folder = tempfile::Builder::new().prefix("lyrox-it-runner-").tempdir().expect("a folder");
        Self { folder, app: project.root().to_path_buf() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs the action with these inputs, as GitHub does: each step in a shell of its own, ended by the first failure.
    fn action(&self, inputs: &[(&str, &str)], variables: &[(&str, &str)]) -> Output {
        let (mut values, steps) = action();
        values.insert("directory".to_owned(), self.app.display().to_string());
        values.insert("binary".to_owned(), binary().to_owned());
        assert_eq!(steps.len(), 2, "{steps:?}");
        for (name, value) in inputs {
            assert!(values.insert((*name).to_owned(), (*value).to_owned()).is_some(), "no input `{name}`");
        }
        let mut all = String::new();
        let mut errors = String::new();
        let mut code = 0;
        for step in steps {
            let script = self.path("step.sh");
            std::fs::write(&script, &step.script).expect("a script");
            let mut command = Command::new("bash");
            command.args(["--noprofile", "--norc", "-eo", "pipefail"]).arg(&script).current_dir(self.folder.path());
            command.env_clear().stdin(Stdio::null());
            for name in ["PATH", "HOME", "LYROX_CACHE_DIR"] {
                command.env(name, std::env::var_os(name).unwrap_or_default());
            }
            command.envs([("CI", "true"), ("GITHUB_ACTIONS", "true")]);
            for (name, file) in
                [("GITHUB_ENV", "env"), ("GITHUB_STEP_SUMMARY", "summary.md"), ("RUNNER_TEMP", "temporary")]
            {
                command.env(name, self.path(file));
            }
            command.env("GITHUB_WORKSPACE", self.app.parent().expect("a workspace"));
            for line in self.text("env").lines() {
                let (name, value) = line.split_once('=').expect("NAME=VALUE");
                command.env(name, value);
            }
            for (name, value) in &step.variables {
                let inner =
                    value.strip_prefix("${{ ").and_then(|value| value.strip_suffix(" }}")).expect("an expression");
                let value = match inner.strip_prefix("inputs.") {
                    Some(input) => values.get(input).unwrap_or_else(|| panic!("no input `{input}`")).clone(),
                    None => {
                        assert_eq!(inner, "github.action_path");
                        repository().display().to_string()
                    }
                };
                command.env(name, value);
            }
            command.envs(variables.iter().copied());
            let output = Output::new(&[&step.name], &command.output().expect("bash"));
            all.push_str(&output.stdout);
            errors.push_str(&output.stderr);
            code = output.code;
            if code != 0 {
                break;
            }
        }
        Output { arguments: "the action".into(), stdout: all, stderr: errors, code }
    }
}

fn project(name: &str) -> Project {
    let project = Project::new(name, "");
    project.write("migrations/1_a.up.sql", "CREATE TABLE note (id int PRIMARY KEY, body text NOT NULL);\n");
    project.write("migrations/1_a.up.json", r#"[{ "create": "events" }]"#);
    project.write("migrations/1_a.up.redis", "SET {{prefix}}config:theme light\n");
    project.write("seeds/dev/postgres/note.toml", "[rows.one]\nid = 1\nbody = \"hello\"\n");
    project
}

/// Every file of reports is JUnit as viewers read it, with cases whose names tell them apart.
pub fn is_junit(text: &str) -> quick_junit::Report {
    let report = quick_junit::Report::deserialize_from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites "), "{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    assert!(report.tests > 0, "a file without a case is an error to some viewers\n{text}");
    let (mut tests, mut failures, mut skipped) = (0, 0, 0);
    for suite in &report.test_suites {
        assert!(!suite.name.as_str().is_empty() && suite.time.is_some(), "{text}");
        let mut names: Vec<_> = suite.test_cases.iter().map(|case| case.name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "names are unique in a suite\n{text}");
        for case in &suite.test_cases {
            assert!(!case.name.as_str().trim().is_empty() && case.classname.is_some() && case.time.is_some(), "{text}");
            match &case.status {
                quick_junit::TestCaseStatus::NonSuccess { message, .. } => {
                    failures += 1;
                    assert!(message.is_some(), "a failure says what failed\n{text}");
                }
                quick_junit::TestCaseStatus::Skipped { .. } => skipped += 1,
                quick_junit::TestCaseStatus::Success { .. } => {}
            }
            tests += 1;
        }
        assert_eq!(suite.tests, suite.test_cases.len(), "{text}");
    }
    assert_eq!((report.tests, report.failures), (tests, failures), "{text}");
    assert!(text.contains(&format!("tests=\"{tests}\" skipped=\"{skipped}\"")), "{text}");
    report
}

#[test]
fn the_action_does_every_step_on_real_servers() {
    let project = project("ci_action");
    let runner = Runner::new(&project);
    let inputs = [("wait", "10s")];
    let run = runner.action(&inputs, &[]);
    run.ok();
    assert!(!run.stdout.contains(['\u{1b}', '\r']) && !run.stderr.contains(['\u{1b}', '\r']), "{run}");
    for step in ["check", "lint", "rehearse", "migrate", "status", "smoke"] {
        is_junit(&runner.text(&format!("lyrox-reports/{step}.xml")));
    }
    run.says("::notice title=lyrox db smoke-test::");
    let summary = runner.text("summary.md");
    for command in ["check", "db lint", "db rehearse", "db migrate", "db status", "db smoke-test"] {
        assert!(summary.contains(&format!("### lyrox {command}")), "{command}\n{summary}");
    }
    assert_eq!(project.sql_value("SELECT count(*) FROM note"), "0");
    // The same again finds nothing to do; only what is asked for runs.
    let again = runner.action(&[("steps", "migrate seed")], &[]);
    again.ok();
    assert_eq!(project.sql_value("SELECT count(*) FROM note"), "1");
    runner.action(&[("steps", "deploy")], &[]).exit(2).says("no step is called 'deploy'");
}

#[test]
fn a_failure_stops_the_action_and_stands_at_its_place_in_the_repository() {
    let project = project("ci_failure");
    let runner = Runner::new(&project);
    let inputs = [("steps", "check migrate smoke")];
    project
        .write("migrations/2_b.up.sql", "ALTER TABLE note ADD COLUMN a int;\nALTER TABLE nothing ADD COLUMN a int;\n");
    let run = runner.action(&inputs, &[]);
    let place = project.root().file_name().expect("a name").to_string_lossy().into_owned();
    run.exit(1).says(&format!("file={place}/migrations/2_b.up.sql,line=2,"));
    let failed = is_junit(&runner.text("lyrox-reports/migrate.xml"));
    assert_eq!(failed.failures, 1, "{failed:?}");
    assert!(!runner.path("lyrox-reports/smoke.xml").exists(), "smoke ran after a failure\n{run}");
    let summary = runner.text("summary.md");
    assert!(summary.contains("### lyrox db migrate (local): failed") && summary.contains("2&#95;b"), "{summary}");

    // A refused password ends with exit 4, an annotation, and without the password.
    project.write("migrations/2_b.up.sql", "ALTER TABLE note ADD COLUMN a int;\n");
    let secret = "not/the%password";
    let (head, tail) = project.postgres.split_once("://").expect("a URL");
    let (login, rest) = tail.rsplit_once('@').expect("a login");
    let user = login.split(':').next().expect("a user");
    let url = format!("{head}://{user}:{}@{rest}", secret.replace('%', "%25").replace('/', "%2F"));
    let run = runner.action(&inputs, &[("DATABASE_URL", &url)]);
    run.exit(4).says("::error title=auth").says("LYX-AUTH-POSTGRES").never_says(secret).never_says("not%2Fthe%25");
    for text in [runner.text("summary.md"), runner.text("lyrox-reports/check.xml")] {
        assert!(!text.contains(secret) && !text.contains("not%2Fthe%25"), "{text}");
    }
}

#[test]
fn a_runner_takes_no_command_from_data() {
    let project = project("ci_commands");
    let runner = Runner::new(&project);
    let hostile = "ALTER TABLE note ADD COLUMN a int;\nDO $$ BEGIN RAISE EXCEPTION E'x\\n::add-mask::y\\n  ::stop-commands::z' ; END $$;\n";
    project.write("migrations/2_b.up.sql", hostile);
    let inputs = [("steps", "migrate")];
    let run = runner.action(&inputs, &[]);
    run.exit(1);
    let own = ["::error ", "::warning ", "::notice "];
    for line in run.stdout.lines().chain(run.stderr.lines()).map(str::trim_start) {
        let is_own = own.iter().any(|begin| line.starts_with(begin));
        assert!(is_own || !(line.starts_with("::") || line.starts_with("##[")), "{line}\n{run}");
    }
    run.says("::error ").says("add-mask");
}

/// The lines of a job's script in the GitLab recipe.
fn gitlab(job: &str) -> Vec<String> {
    let text = read("ci/gitlab-ci.yml");
    let body = text.split(&format!("\n{job}:\n")).nth(1).expect("a job").split("\n\n").next().expect("its text");
    let script = body.split("  script:\n").nth(1).expect("a script");
    script.lines().map_while(|line| line.strip_prefix("    - ")).map(str::to_owned).collect()
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn the_gitlab_recipe_tries_a_merge_request_on_servers_of_its_own_and_deploys() {
    let alone = Alone::lyrox_os();
    let path = alone.path();
    std::fs::create_dir(path.join("ci")).expect("a folder");
    crate::setup::copy(&repository().join("ci/lyrox-ci.sh"), &path.join("ci/lyrox-ci.sh"));
    std::fs::create_dir(path.join("bin")).expect("a folder");
    std::os::unix::fs::symlink(binary(), path.join("bin/lyrox")).expect("a link");
    git(path, &["init", "-q", "-b", "main"]);
    git(path, &["add", "lyrox.toml", "migrations"]);
    git(path, &["commit", "-qm", "one"]);
    let base = git(path, &["rev-parse", "HEAD"]);
    let configuration = std::fs::read_to_string(path.join("lyrox.toml")).expect("lyrox.toml");
    std::fs::write(path.join("lyrox.toml"), format!("{configuration}\n[env.staging]\n")).expect("lyrox.toml");

    let programs = format!("{}:{}", path.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let run = |line: &str, variables: &[(&str, &str)]| {
        let mut shell = alone.command("sh");
        shell.args(["-ec", line]).env("PATH", &programs).env("CI", "true").envs(variables.iter().copied());
        Output::new(&[line], &shell.output().expect("a shell"))
    };
    let lines = gitlab("try");
    assert_eq!(lines.len(), 1);
    for line in &lines {
        let output = run(line, &[("CI_MERGE_REQUEST_DIFF_BASE_SHA", &base)]);
        output.ok().says("0 files").never_says("::notice");
        assert!(!output.stdout.contains(['\u{1b}', '\r']) && !output.stderr.contains(['\u{1b}', '\r']), "{output}");
    }
    let urls = lyrox::servers::running(path).expect("servers");
    let url = |url: &Option<String>| url.clone().expect("a URL");
    // Another environment on other databases of these servers.
    let direct = lyrox::url::parse(lyrox::kind::StoreKind::Postgres, &url(&urls.postgres_direct)).expect("a URL");
    crate::support::sql(&direct.expose(), "CREATE DATABASE staging").expect("a database");
    let direct = direct.with_database("staging").expose();
    let text = configuration.replace("lyrox_db", "staging_db").replace("\"lyrox:\"", "\"staging:\"");
    std::fs::write(path.join("lyrox.toml"), format!("{text}\n[env.staging]\n")).expect("lyrox.toml");
    let (mongodb, redis) = (url(&urls.mongodb), url(&urls.redis));
    fn staging<'a>(before: &'a str, urls: [&'a str; 3]) -> [(&'static str, &'a str); 6] {
        let [postgres, mongodb, redis] = urls;
        [
            ("LYROX_ENV", "staging"),
            ("CI_COMMIT_BEFORE_SHA", before),
            ("DATABASE_URL", postgres),
            ("DIRECT_URL", postgres),
            ("MONGODB_URI", mongodb),
            ("REDIS_URL", redis),
        ]
    }
    let urls = [direct.as_str(), mongodb.as_str(), redis.as_str()];
    let lines = gitlab("deploy");
    assert_eq!(lines.len(), 5);
    for line in &lines {
        if line.ends_with("smoke") {
            // The tests of this project want its seeds, which a real environment has.
            run("sh ci/lyrox-ci.sh seed", &staging("", urls)).ok();
        }
        let zeros = "0".repeat(40);
        let before = if line.ends_with("lint") { base.as_str() } else { zeros.as_str() };
        run(line, &staging(before, urls)).ok();
    }
    for step in ["servers", "check", "lint", "rehearse", "migrate", "status", "seed", "expect", "smoke"] {
        let text = std::fs::read_to_string(path.join(format!("lyrox-reports/{step}.xml"))).expect("a report");
        assert_eq!(is_junit(&text).failures, 0, "{text}");
    }
}

/// Others' code runs only by a name that cannot be moved, and no expression becomes text of a script.
#[test]
fn the_kit_pins_what_it_uses_and_builds_no_script_from_input() {
    let action = read("action.yml");
    for script in action.split("run: |").skip(1) {
        let script: String =
            script.lines().take_while(|line| line.is_empty() || line.starts_with("        ")).collect();
        assert!(!script.contains("${{"), "{script}");
    }
    let workflow = read("ci/github-workflow.yml");
    for line in workflow.lines().chain(action.lines()).filter_map(|line| line.split("uses: ").nth(1)) {
        let name = line.split(' ').next().expect("a name");
        let revision = name.split('@').nth(1).unwrap_or_else(|| panic!("{line}: no revision"));
        let is_sha = revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_sha || name == "OWNER/lyrox@SHA", "{line}");
    }
    assert!(workflow.contains("permissions:\n  contents: read\n"), "{workflow}");
    // Steps that the kit names exist, and every one is told in the guide.
    let shell = read("ci/lyrox-ci.sh");
    let guide = read("docs/ci.md");
    for step in ["servers", "check", "lint", "rehearse", "migrate", "seed", "expect", "smoke"] {
        assert!(shell.contains(&format!("\n    {step})")), "{step}");
        assert!(guide.contains(&format!("`{step}`")), "docs/ci.md says nothing of `{step}`");
    }
}
