//! The machines that an image can hold bytecode for.

use std::{fmt, path::Path};

use crate::Endianness;

/// A machine, by the name that container platforms have for it (Go's `GOARCH`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are Go's own")]
pub enum Arch {
    X86,
    Amd64,
    Arm,
    Arm64,
    Loong64,
    Mips,
    Mipsle,
    Mips64,
    Mips64le,
    Ppc64,
    Ppc64le,
    Riscv64,
    S390x,
}

impl Arch {
    /// All of them, in the order of the build arguments.
    pub const ALL: [Self; 13] = [
        Self::X86,
        Self::Amd64,
        Self::Arm,
        Self::Arm64,
        Self::Loong64,
        Self::Mips,
        Self::Mipsle,
        Self::Mips64,
        Self::Mips64le,
        Self::Ppc64,
        Self::Ppc64le,
        Self::Riscv64,
        Self::S390x,
    ];

    /// The platform's name, as in `linux/amd64`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86 => "386",
            Self::Amd64 => "amd64",
            Self::Arm => "arm",
            Self::Arm64 => "arm64",
            Self::Loong64 => "loong64",
            Self::Mips => "mips",
            Self::Mipsle => "mipsle",
            Self::Mips64 => "mips64",
            Self::Mips64le => "mips64le",
            Self::Ppc64 => "ppc64",
            Self::Ppc64le => "ppc64le",
            Self::Riscv64 => "riscv64",
            Self::S390x => "s390x",
        }
    }

    /// Byte order of its bytecode.
    pub const fn endianness(self) -> Endianness {
        match self {
            Self::Mips | Self::Mips64 | Self::Ppc64 | Self::S390x => Endianness::Big,
            _ => Endianness::Little,
        }
    }

    /// The build argument that names its object: `BC_AMD64_EL`.
    pub fn build_arg(self) -> String {
        let name = self.name().to_ascii_uppercase();
        format!(
            "BC_{name}_{}",
            order(self.endianness()).to_ascii_uppercase()
        )
    }

    /// The command-line flag that names its object: `--bc-amd64-el`.
    pub fn flag(self) -> String {
        format!("--bc-{}-{}", self.name(), order(self.endianness()))
    }

    /// The usual name of its object in a cilium/ebpf project.
    pub fn file_name(self) -> String {
        let machine = match self {
            Self::Amd64 => "x86",
            other => other.name(),
        };
        format!("bpf_{machine}_bpf{}.o", order(self.endianness()))
    }

    /// The machine that this runs on; none when no container platform is known for it.
    pub fn host() -> Option<Self> {
        let little = Endianness::HOST == Endianness::Little;
        Some(match std::env::consts::ARCH {
            "x86" => Self::X86,
            "x86_64" => Self::Amd64,
            "arm" => Self::Arm,
            "aarch64" => Self::Arm64,
            "loongarch64" => Self::Loong64,
            "mips" if little => Self::Mipsle,
            "mips" => Self::Mips,
            "mips64" if little => Self::Mips64le,
            "mips64" => Self::Mips64,
            "powerpc64" if little => Self::Ppc64le,
            "powerpc64" => Self::Ppc64,
            "riscv64" => Self::Riscv64,
            "s390x" => Self::S390x,
            _ => return None,
        })
    }

    /// The machine that cilium/ebpf's bpf2go names in the end of a file name:
    /// `<name>_<machine>_bpfel.o`. It takes the kernel's words for machines (`arch/…`), which leave
    /// the width out; GOARCH names are taken as well.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".o")?;
        let (name, order) = name.rsplit_once('_')?;
        let (_, machine) = name.rsplit_once('_')?;
        let endianness = match order {
            "bpfel" => Endianness::Little,
            "bpfeb" => Endianness::Big,
            _ => return None,
        };
        let by_kernel = match (machine, endianness) {
            ("x86", Endianness::Little) => Some(Self::Amd64),
            ("loongarch", Endianness::Little) => Some(Self::Loong64),
            ("mips", Endianness::Little) => Some(Self::Mipsle),
            ("powerpc", Endianness::Little) => Some(Self::Ppc64le),
            ("powerpc", Endianness::Big) => Some(Self::Ppc64),
            ("riscv", Endianness::Little) => Some(Self::Riscv64),
            ("s390", Endianness::Big) => Some(Self::S390x),
            _ => None,
        };
        by_kernel.or_else(|| {
            Self::ALL
                .into_iter()
                .find(|arch| arch.name() == machine && arch.endianness() == endianness)
        })
    }
}

const fn order(endianness: Endianness) -> &'static str {
    match endianness {
        Endianness::Little => "el",
        Endianness::Big => "eb",
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_that_bpf2go_writes() {
        for (file, arch) in [
            ("bpf_x86_bpfel.o", Some(Arch::Amd64)),
            ("dir/my_prog_x86_bpfel.o", Some(Arch::Amd64)),
            ("bpf_amd64_bpfel.o", Some(Arch::Amd64)),
            ("bpf_386_bpfel.o", Some(Arch::X86)),
            ("bpf_arm_bpfel.o", Some(Arch::Arm)),
            ("bpf_arm64_bpfel.o", Some(Arch::Arm64)),
            ("bpf_loongarch_bpfel.o", Some(Arch::Loong64)),
            ("bpf_mips_bpfeb.o", Some(Arch::Mips)),
            ("bpf_mips_bpfel.o", Some(Arch::Mipsle)),
            ("bpf_mips64le_bpfel.o", Some(Arch::Mips64le)),
            ("bpf_powerpc_bpfel.o", Some(Arch::Ppc64le)),
            ("bpf_powerpc_bpfeb.o", Some(Arch::Ppc64)),
            ("bpf_riscv_bpfel.o", Some(Arch::Riscv64)),
            ("bpf_s390_bpfeb.o", Some(Arch::S390x)),
            ("bpf_s390x_bpfeb.o", Some(Arch::S390x)),
            // For every machine of one byte order: which platform would that be?
            ("bpf_bpfel.o", None),
            ("bpf_x86_bpfeb.o", None),
            ("bpf_x86_bpfel.go", None),
            ("x86_bpfel.o", None),
            ("bpf_vax_bpfel.o", None),
            ("plain.o", None),
        ] {
            assert_eq!(Arch::of_file(Path::new(file)), arch, "{file}");
        }
    }

    #[test]
    fn build_arguments_and_flags() {
        let args = Arch::ALL.map(Arch::build_arg).join(" ");
        assert_eq!(
            args,
            "BC_386_EL BC_AMD64_EL BC_ARM_EL BC_ARM64_EL BC_LOONG64_EL BC_MIPS_EB BC_MIPSLE_EL \
             BC_MIPS64_EB BC_MIPS64LE_EL BC_PPC64_EB BC_PPC64LE_EL BC_RISCV64_EL BC_S390X_EB"
        );
        assert_eq!(Arch::S390x.flag(), "--bc-s390x-eb");
    }

    #[test]
    fn the_host_has_its_own_byte_order() {
        assert_eq!(Arch::host().unwrap().endianness(), Endianness::HOST);
    }
}
