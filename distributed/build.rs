//! Rebuilds the crate after a change of the migrations, which `sqlx::migrate!` reads at compile time.

fn main() {
    println!("cargo:rerun-if-changed=../migrations/mysql");
    println!("cargo:rerun-if-changed=../migrations/mysql-expansions");
}
