//! `docferry id`.

use crate::support::docferry;

#[test]
fn an_object_id_comes_back_from_its_uuid() {
    let id = "507f1f77bcf86cd799439011";
    let output = docferry().args(["id", id]).output().unwrap();
    assert!(output.status.success());
    let uuid = String::from_utf8(output.stdout).unwrap();
    let output = docferry().args(["id", uuid.trim()]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), id);
}

#[test]
fn what_is_no_id_is_refused_with_the_usage_status() {
    let output = docferry().args(["id", "nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("`nonsense`"));
}
