//! The binary answers. (That this test exists is also why `cargo test --workspace` builds it for the black-box tests.)

use std::process::Command;

#[test]
fn the_binary_tells_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("version")
        .output()
        .expect("the binary runs");
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(said, format!("portcullis {}\n", env!("CARGO_PKG_VERSION")));
}
