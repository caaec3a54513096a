//! `sqlx::migrate!` reads the folders when the crate is compiled, and Cargo must know that it does.

fn main() {
    println!("cargo:rerun-if-changed=../migrations/sqlite-log");
    println!("cargo:rerun-if-changed=../migrations/sqlite-views");
}
