//! `sqlx::migrate!` reads the folder when the crate is compiled, and Cargo must know that it does.

fn main() {
    println!("cargo:rerun-if-changed=../migrations/mysql");
}
