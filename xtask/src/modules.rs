//! Which kernel module needs which, read from the modules themselves: an unpacked kernel package
//! has no `modules.dep`, that file is made at installation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::sh;

/// A module and its place in the loading order.
#[derive(Debug)]
pub(crate) struct Module {
    /// Its name with underscores, as the kernel shows it.
    pub(crate) name: String,
    /// The module, unpacked.
    pub(crate) content: Vec<u8>,
}

/// Finds the wanted modules below `root` (a `lib/modules/<release>` directory) together with
/// everything they need, dependencies first. A wanted module that is not there is built in.
pub(crate) fn closure(root: &Path, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(&root.join("kernel"), &mut files)
        .with_context(|| format!("read modules of {}", root.display()))?;
    let mut order = Vec::new();
    for name in wanted {
        add(name, &files, &mut order)?;
    }
    Ok(order)
}

fn index(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some(name) = module_name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `…/virtio-rng.ko.xz` → `virtio_rng`; `None` for a file that is no module.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (stem, _) = file.split_once(".ko")?;
    Some(stem.replace('-', "_"))
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, order: &mut Vec<Module>) -> Result<()> {
    let name = name.replace('-', "_");
    if order.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let Some(path) = files.get(&name) else {
        return Ok(());
    };
    let content = unpack(path)?;
    for needed in depends(&content) {
        add(&needed, files, order)?;
    }
    order.push(Module { name, content });
    Ok(())
}

fn unpack(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return std::fs::read(path).with_context(|| format!("read {}", path.display())),
    };
    sh::output_bytes(Command::new(tool).arg("-dc").arg(path))
}

/// The modules that a module names in the `depends=` record of its `.modinfo` section, where
/// records are strings that end in a zero byte.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next();
    String::from_utf8_lossy(value.unwrap_or_default())
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_from_modinfo() {
        let module = b"\x7fELF\0license=GPL\0depends=virtio-ring,virtio\0retpoline=Y\0";
        assert_eq!(depends(module), ["virtio_ring", "virtio"]);
        assert!(depends(b"\0license=GPL\0depends=\0name=x\0").is_empty());
        assert!(depends(b"\0license=GPL\0").is_empty());
    }

    #[test]
    fn names_use_underscores() {
        let name = |path: &str| module_name(Path::new(path));
        assert_eq!(name("/m/virtio-rng.ko.xz").as_deref(), Some("virtio_rng"));
        assert_eq!(name("/m/veth.ko").as_deref(), Some("veth"));
        assert_eq!(name("/m/modules.order"), None);
    }

    #[test]
    fn dependencies_are_loaded_first_and_once() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("kernel/net");
        std::fs::create_dir_all(&dir).unwrap();
        for (name, needs) in [("a", "b,c"), ("b", "c"), ("c", ""), ("d", "")] {
            let content = format!("\0depends={needs}\0");
            std::fs::write(dir.join(format!("{name}.ko")), content).unwrap();
        }
        let modules = closure(root.path(), &["a", "c", "built-in"]).unwrap();
        let names: Vec<_> = modules.iter().map(|module| &module.name).collect();
        assert_eq!(names, ["c", "b", "a"]);
    }
}
