//! Builds anew when a migration changes: `sqlx::migrate!` embeds the folder's files.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
