//! Architectures, by the words of iPXE.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a machine's firmware runs, as iPXE says it in `${buildarch}` (ipxe.org/cfg/buildarch; the folders of its
/// `src/arch`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Architecture {
    /// BIOS: iPXE is built for i386 there, whatever the machine is.
    #[serde(rename = "i386")]
    I386,
    /// UEFI on AMD and Intel
    #[serde(rename = "x86_64")]
    X86_64,
    /// 32-bit ARM
    #[serde(rename = "arm32")]
    Arm32,
    /// 64-bit ARM
    #[serde(rename = "arm64")]
    Arm64,
    /// LoongArch
    #[serde(rename = "loong64")]
    Loong64,
    /// 32-bit RISC-V
    #[serde(rename = "riscv32")]
    Riscv32,
    /// 64-bit RISC-V
    #[serde(rename = "riscv64")]
    Riscv64,
}

impl Architecture {
    /// Each of them.
    pub const ALL: [Self; 7] =
        [Self::I386, Self::X86_64, Self::Arm32, Self::Arm64, Self::Loong64, Self::Riscv32, Self::Riscv64];

    /// iPXE's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::I386 => "i386",
            Self::X86_64 => "x86_64",
            Self::Arm32 => "arm32",
            Self::Arm64 => "arm64",
            Self::Loong64 => "loong64",
            Self::Riscv32 => "riscv32",
            Self::Riscv64 => "riscv64",
        }
    }

    /// The architecture of iPXE's word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == word)
    }

    /// The architecture of a component's `Arch` in the inventory.
    pub(crate) fn of_component(word: &str) -> Option<Self> {
        match word {
            "X86" => Some(Self::X86_64),
            "ARM" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// What else boots where nothing is set for this one: machines with a BIOS have been 64 bits wide for long.
    pub(crate) fn or_else(self) -> Option<Self> {
        (self == Self::I386).then_some(Self::X86_64)
    }
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Architecture;

    #[test]
    fn a_word_is_read_as_it_is_written() {
        for it in Architecture::ALL {
            assert_eq!(Architecture::parse(it.name()), Some(it));
            assert_eq!(serde_json::json!(it), it.name());
        }
        assert_eq!(Architecture::parse("X86"), None);
    }
}
