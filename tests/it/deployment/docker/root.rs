//! The image's program as a container has it: nobody in particular, with a root that it cannot write to and the libraries of the image.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::trial::{free_port, wait_port};
use crate::servers::Program;
use crate::service::http::office::Office;
use crate::support::{bridge, stderr, stdout};

/// What the image has that the program may be linked with: distroless/cc-debian12 is the C library, OpenSSL and those of the compiler.
const IN_THE_IMAGE: [&str; 9] = [
    "linux-vdso.so.1",
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "libssl.so.3",
    "libcrypto.so.3",
    "libgomp.so.1",
];

#[test]
fn the_program_needs_no_library_that_the_image_lacks() {
    let output = Command::new("ldd").arg(env!("CARGO_BIN_EXE_biometric-bridge")).output();
    let output = output.expect("ldd runs");
    let needed: Vec<&str> = stdout(&output)
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.rsplit('/').next())
        .collect();
    assert!(needed.contains(&"libc.so.6"), "{needed:?}");
    let lacking: Vec<_> = needed.iter().filter(|name| !IN_THE_IMAGE.contains(name)).collect();
    assert!(lacking.is_empty(), "the image lacks {lacking:?}");
}

/// As a container with `read_only: true` and `user: 65532` has it, where this process may do that.
const SEALED: &str = "mount -o remount,bind,ro / && exec setpriv --reuid=65532 --regid=65532 --clear-groups \\
    --no-new-privs --bounding-set=-all --pdeathsig=KILL -- \"$@\"";

#[test]
fn the_service_runs_as_nobody_with_a_root_that_it_cannot_write_to() {
    let may = Command::new("unshare").args(["-m", "mount", "-o", "remount,bind,ro", "/"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        // Past the harness, which keeps what a passing test prints.
        let reason = "this process may not make a mount namespace";
        writeln!(std::io::stderr(), "skipped the_service_runs_as_nobody: {reason}")
            .expect("there is one");
        return;
    }
    let office = Office::new();
    // Where whoever is nobody comes through.
    let program = office.folder.join("biometric-bridge");
    std::fs::copy(env!("CARGO_BIN_EXE_biometric-bridge"), &program).expect("copied");
    let keys = office.folder.join("keys-of-all.txt");
    std::fs::copy(office.folder.join("keys.txt"), &keys).expect("copied");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o444)).expect("permitted");
    let bind = format!("127.0.0.1:{}", free_port());
    let mut environment: BTreeMap<&str, &str> =
        office.environment().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    environment.insert("KEY_FILE", keys.to_str().expect("a path"));
    // What it keeps is elsewhere; here nobody is there, and it waits.
    environment.insert("POSTGRES_URL", "postgresql://bridge@127.0.0.1:1/bridge?sslmode=disable");
    environment.insert("HTTP_BIND", &bind);
    let environment: Vec<(&str, &str)> = environment.into_iter().collect();
    let arguments = ["-m", "sh", "-c", SEALED, "sealed", program.to_str().expect("a path"), "run"];
    let service = Program::start(
        "the bridge",
        "unshare".as_ref(),
        &arguments.map(str::to_owned),
        &environment,
    );
    wait_port(
        bind.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port"),
        &service,
    );
    let url = format!("http://{bind}/health");
    let asked = bridge(&["healthcheck", "--url", &url]).output().expect("it starts");
    assert!(asked.status.success(), "{}\n{}", stderr(&asked), service.complaints());
    assert_eq!(stdout(&asked), format!("{url}: ok\n"));
    assert!(!service.complaints().contains("Read-only"), "{}", service.complaints());
}
