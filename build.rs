//! Finds httpd through `apxs`, makes bindings of its headers and compiles the C shim.
//!
//! `APXS=/path/to/apxs` chooses another httpd.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGES: &str = "on Debian and Ubuntu: apt-get install apache2-dev libclang-dev gcc";

fn main() {
    println!("cargo::rerun-if-changed=include");
    println!("cargo::rerun-if-changed=src/httpd/shim.c");
    println!("cargo::rerun-if-env-changed=APXS");

    let apxs = apxs();
    let includes = include_dirs(&apxs);
    let defines: Vec<String> = apxs
        .query("EXTRA_CPPFLAGS")
        .split_whitespace()
        .filter(|word| word.starts_with("-D"))
        .map(str::to_owned)
        .collect();
    bindings(&includes, &defines);
    shim(&includes, &defines);

    // The library must never be unmapped: destructors of Rust's thread-locals and the crypto provider
    // registered with jsonwebtoken would outlive it (graceful restart closes and opens modules).
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // A library that is loaded beside an older build of itself (a graceful restart with another path in LoadModule) uses
    // its own functions and its own module record, not those of the one that came first.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic");
}

struct Apxs(PathBuf);

impl Apxs {
    fn query(&self, name: &str) -> String {
        let output = Command::new(&self.0).args(["-q", name]).output();
        match output {
            Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            _ => String::new(),
        }
    }
}

/// `$APXS`, else what the PATH has.
fn apxs() -> Apxs {
    let candidates = match env::var("APXS") {
        Ok(path) => vec![path],
        Err(_) => ["apxs", "apxs2", "/usr/bin/apxs", "/usr/sbin/apxs", "/usr/local/apache2/bin/apxs"]
            .map(str::to_owned)
            .to_vec(),
    };
    for candidate in &candidates {
        let apxs = Apxs(PathBuf::from(candidate));
        if !apxs.query("INCLUDEDIR").is_empty() {
            return apxs;
        }
    }
    panic!(
        "\n\napxs was not found or does not answer (tried {}). Install httpd's headers ({PACKAGES}) or set APXS=/path/to/apxs.\n",
        candidates.join(", ")
    );
}

/// The directories of httpd's and APR's headers.
fn include_dirs(apxs: &Apxs) -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::from("include"), PathBuf::from(apxs.query("INCLUDEDIR"))];
    dirs.extend(["APR_INCLUDEDIR", "APU_INCLUDEDIR"].iter().map(|name| PathBuf::from(apxs.query(name))));
    for config in ["APR_CONFIG", "APU_CONFIG"] {
        if let Ok(output) = Command::new(apxs.query(config)).arg("--includedir").output() {
            dirs.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
        }
    }
    dirs.retain(|dir| !dir.as_os_str().is_empty());
    for header in ["httpd.h", "apr.h", "apu.h", "mod_proxy.h"] {
        if !dirs.iter().any(|dir| dir.join(header).exists()) {
            panic!("\n\nThe header {header} was not found in {dirs:?}. Install it ({PACKAGES}).\n");
        }
    }
    dirs
}

fn bindings(includes: &[PathBuf], defines: &[String]) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    bindgen::Builder::default()
        .header("include/httpd_bindings.h")
        .header("include/jwt_gate_shim.h")
        .clang_args(includes.iter().map(|dir| format!("-I{}", dir.display())))
        .clang_args(defines)
        .clang_arg("-D_GNU_SOURCE")
        .allowlist_function("(ap|apr)_.*|jwt_gate_.*")
        .allowlist_type("module|command_rec|cmd_parms|request_rec|server_rec|conn_rec|ap_.*|apr_.*|authz_.*|core_.*|JWT_GATE.*")
        .allowlist_var("AP_.*|AUTHZ_.*|APLOG_.*|APR_.*|HTTP_.*|M_.*|MODULE_MAGIC_.*|PROXYREQ_.*|REQUEST_CHUNKED_DECHUNK|SATISFY_.*|NOT_IN_.*|GLOBAL_ONLY|TOO_MANY|JWT_GATE.*|ap_.*")
        .prepend_enum_name(false)
        .layout_tests(false)
        .generate_comments(false)
        .derive_default(false)
        .generate()
        .unwrap_or_else(|error| panic!("\n\nhttpd's headers cannot be read: {error}. Is libclang there? ({PACKAGES})\n"))
        .write_to_file(&out)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", out.display()));
}

fn shim(includes: &[PathBuf], defines: &[String]) {
    let mut build = cc::Build::new();
    build.file(Path::new("src/httpd/shim.c")).includes(includes).warnings(true);
    for define in defines {
        build.flag(define);
    }
    build.compile("jwt_gate_shim");
}
