//! The migrations are inside the binary: building again when one is added is cargo's job only if it is told.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=audit-migrations");
}
