//! The fuzz targets without a fuzzer: their corpus, and mutations of it that are the same in every run.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::{fs, iter};

#[path = "../fuzz/src/lib.rs"]
pub mod fuzz;

use fuzz::TARGETS;

/// Mutated inputs for each target.
const MUTATIONS: usize = 10_000;

#[test]
fn every_input_and_its_mutations_keep_the_promises() {
    for (name, target) in TARGETS {
        let seeds = corpus(name);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mutations = iter::repeat_with(|| mutated(&seeds, &mut random)).take(MUTATIONS);
        for input in seeds.iter().cloned().chain(mutations) {
            assert!(catch_unwind(|| target(&input)).is_ok(), "{name}: b\"{}\"", input.escape_ascii());
        }
    }
}

#[test]
fn every_target_is_known_everywhere() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len(), "a name stands twice in TARGETS");
    assert_eq!(names_in("corpus"), targets, "corpus/");
    assert_eq!(names_in("fuzz_targets"), targets, "fuzz_targets/");

    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    let bins = manifest.lines().filter_map(|line| line.trim().strip_prefix("{ name = \"")?.split('"').next());
    assert_eq!(bins.map(str::to_owned).collect::<BTreeSet<_>>(), targets, "bin in Cargo.toml");
    for name in &targets {
        let shim = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(shim.contains(&format!("jwt_gate_fuzz::{name}(data)")), "fuzz_targets/{name}.rs");
    }
}

/// All inputs of a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = folder("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))).collect()
}

fn names_in(folder_name: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder(folder_name)).expect("a readable folder");
    entries
        .map(|entry| entry.expect("a readable folder").path().with_extension(""))
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz").join(name)
}

/// One of the seeds after one to four changes.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    /// Bytes at which parsers change their mind.
    const TELLING: &[u8] = b"\0\t\n\r \"#%',-./0123456789:;=@AFZ[\\]_azf{}~\x7f\x80\xc3\xef\xff";
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = at + random.below(input.len() - at + 1);
        match random.below(6) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = TELLING[random.below(TELLING.len())],
            2 => input.insert(at, TELLING[random.below(TELLING.len())]),
            3 => drop(input.drain(at..end)),
            4 => {
                let repeated = input[at..end].to_vec();
                input.splice(at..at, repeated);
            }
            _ => {
                let other = &seeds[random.below(seeds.len())];
                input.truncate(at);
                input.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
        }
    }
    input
}

/// xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    /// A number from 0 to `bound` - 1.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}
