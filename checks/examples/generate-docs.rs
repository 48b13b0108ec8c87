//! Writes docs/checks/en.md and docs/checks/zh.md from the registry.

use std::path::Path;
use std::{fs, io};

use kantaloupe_checks::{Lang, markdown};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/checks");
    fs::create_dir_all(&folder)?;
    for (name, lang) in [("en.md", Lang::En), ("zh.md", Lang::Zh)] {
        fs::write(folder.join(name), markdown::page(lang))?;
    }
    Ok(())
}
