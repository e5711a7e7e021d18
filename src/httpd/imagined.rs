//! A request that nobody sent: httpd itself finds its virtual host, merges its sections, and asks all modules about it,
//! as it does for a sub-request that is only looked up.
//!
//! A sub-request copies addresses, headers and server from its main request before any hook sees it. So these are put
//! into the main request for as long as that takes, and are what they were afterwards. What modules do when a
//! request arrives (SetEnvIf, `RequestHeader early`, mod_remoteip) is not done for a sub-request, nor what mod_rewrite
//! does to none (rules with `R` or `NS`).

use std::ffi::{c_char, c_int};
use std::net::IpAddr;
use std::ptr;

use jwt_gate_core::explain::Described;

use super::ffi;
use super::pool::Pool;
use super::request::Request;

impl Request<'_> {
    /// Has httpd look up a request as it is described, and calls `look` with what came of it: its status is what httpd
    /// would answer before any handler; 200 if the handler would, and 0 for what httpd answers itself. Nothing is sent,
    /// and what modules say in refusing it is not logged.
    ///
    /// # Errors
    /// The status with which httpd refuses the header `Host`.
    pub(crate) fn imagine<T>(self, described: &Described, look: impl FnOnce(Request<'_>) -> T) -> Result<T, u16> {
        let pool = self.pool();
        let (method, path) = (pool.c_string(described.method.as_bytes()), pool.c_string(described.path.as_bytes()));
        let disguise = Disguise::put_on(self, described)?;
        // SAFETY: the request is live and used by this thread alone; both strings are on its pool. httpd makes the
        // sub-request, of which `look` keeps nothing, and which nobody else knows.
        unsafe {
            let imagined = ffi::ap_sub_req_method_uri(method, path, self.raw(), ptr::null_mut());
            let seen = look(Request::from_raw(imagined));
            ffi::ap_destroy_sub_req(imagined);
            drop(disguise);
            Ok(seen)
        }
    }

    /// Has nothing logged about it but what endangers the server: who watches the log would ban the client of a request
    /// that nobody sent. httpd forgets it when it merges the sections.
    pub(crate) fn silence(self) {
        let level = ffi::APLOG_CRIT.cast_signed();
        let quiet = self.pool().copy(&[ffi::ap_logconf { module_levels: ptr::null_mut(), level }]);
        // SAFETY: live, used by this thread alone; what is set lives on its pool.
        unsafe { (*self.raw()).log = quiet.as_ptr() };
    }

    /// The body, up to `most` bytes; the rest of a longer one is not read.
    ///
    /// # Errors
    /// The status for a body that cannot be read (400 and the like), or is longer (413).
    pub(crate) fn body(self, most: usize) -> Result<Vec<u8>, u16> {
        let failed = |status: c_int| u16::try_from(status).unwrap_or(400);
        // SAFETY: the request is live, and its body has not been read.
        let status = unsafe { ffi::ap_setup_client_block(self.raw(), ffi::REQUEST_CHUNKED_DECHUNK.cast_signed()) };
        if status != ffi::JWT_GATE_OK {
            return Err(failed(status));
        }
        let (mut body, mut part) = (Vec::new(), [0_u8; 8192]);
        // SAFETY: the request is live; the buffer has that many bytes, of which httpd says how many it wrote.
        if unsafe { ffi::ap_should_client_block(self.raw()) } == 0 {
            return Ok(body);
        }
        loop {
            // SAFETY: as above.
            let read = unsafe { ffi::ap_get_client_block(self.raw(), part.as_mut_ptr().cast(), part.len()) };
            let Ok(read) = usize::try_from(read) else { return Err(400) };
            if read == 0 {
                return Ok(body);
            }
            body.extend_from_slice(part.get(..read).ok_or(500_u16)?);
            if body.len() > most {
                return Err(413);
            }
        }
    }
}

/// A main request while it looks like another one, and what it was before.
struct Disguise {
    raw: *mut ffi::request_rec,
    request: ffi::request_rec,
    client_addr: *mut ffi::apr_sockaddr_t,
    client_ip: *mut c_char,
    remote_host: *mut c_char,
    remote_logname: *mut c_char,
    double_reverse: c_int,
}

impl Disguise {
    fn put_on(request: Request<'_>, described: &Described) -> Result<Self, u16> {
        let (raw, pool) = (request.raw(), request.pool());
        // SAFETY: the request and its connection are live and used by this thread alone (under HTTP/2, a stream has a
        // connection of its own). The copy is put back by `drop`, before anything else sees the request again; all that
        // is put in its place lives on its pool.
        unsafe {
            let connection = (*raw).connection;
            let before = Self {
                raw,
                request: ptr::read(raw),
                client_addr: (*connection).client_addr,
                client_ip: (*connection).client_ip,
                remote_host: (*connection).remote_host,
                remote_logname: (*connection).remote_logname,
                double_reverse: (*connection).double_reverse(),
            };
            let headers = ffi::apr_table_make(pool.raw(), 10);
            let host = match &described.host {
                Some(host) => pool.c_string(host.as_bytes()),
                None => ffi::apr_table_get((*raw).headers_in, c"Host".as_ptr()),
            };
            if !host.is_null() {
                ffi::apr_table_setn(headers, c"Host".as_ptr(), host);
            }
            for (name, value) in &described.headers {
                // As httpd joins repeated headers when it reads a request.
                let (name, value) = (pool.c_string(name.as_bytes()), pool.c_string(value.as_bytes()));
                ffi::apr_table_mergen(headers, name, value);
            }
            (*raw).headers_in = headers;
            (*raw).subprocess_env = ffi::apr_table_make(pool.raw(), 10);
            let line = format!("{} {} HTTP/1.1", described.method, described.path);
            (*raw).the_request = pool.c_string(line.as_bytes()).cast_mut();
            // A copy: httpd asks no module about a sub-request that has the very configuration of its main request.
            (*raw).per_dir_config = ffi::ap_merge_per_dir_configs(
                pool.raw(),
                (*raw).per_dir_config,
                ffi::ap_create_request_config(pool.raw()),
            );
            request.silence();
            (*connection).remote_host = ptr::null_mut();
            (*connection).remote_logname = ptr::null_mut();
            (*connection).set_double_reverse(0);
            if let Some(peer) = described.peer {
                let address = socket_address(pool, peer)?;
                ((*connection).client_addr, (*connection).client_ip) = (address, text_of(pool, peer));
            }
            if let Some(client) = described.address {
                let is_peer = described.peer == Some(client);
                let address = if is_peer { (*connection).client_addr } else { socket_address(pool, client)? };
                ((*raw).useragent_addr, (*raw).useragent_ip) = (address, text_of(pool, client));
            }
            if described.host.is_some() {
                (*raw).hostname = ptr::null();
                (*raw).server = (*connection).base_server;
                (*raw).status = 200;
                ffi::ap_update_vhost_from_headers(raw);
                if (*raw).status != 200 {
                    return Err(u16::try_from((*raw).status).unwrap_or(400));
                }
            }
            Ok(before)
        }
    }
}

impl Drop for Disguise {
    fn drop(&mut self) {
        // SAFETY: the same request, still in its callback.
        unsafe {
            ptr::write(self.raw, ptr::read(&raw const self.request));
            let connection = (*self.raw).connection;
            (*connection).client_addr = self.client_addr;
            (*connection).client_ip = self.client_ip;
            (*connection).remote_host = self.remote_host;
            (*connection).remote_logname = self.remote_logname;
            (*connection).set_double_reverse(self.double_reverse);
        }
    }
}

fn text_of(pool: Pool<'_>, address: IpAddr) -> *mut c_char {
    pool.c_string(address.to_string().as_bytes()).cast_mut()
}

/// An address as APR has it. It is written in numbers, so that nobody is asked for it.
fn socket_address(pool: Pool<'_>, address: IpAddr) -> Result<*mut ffi::apr_sockaddr_t, u16> {
    let mut found = ptr::null_mut();
    let family = if address.is_ipv4() { ffi::APR_INET } else { ffi::APR_INET6 };
    // SAFETY: the pool is live, and there is a place for the result.
    let failed = unsafe {
        ffi::apr_sockaddr_info_get(&raw mut found, text_of(pool, address), family as c_int, 0, 0, pool.raw())
    };
    if failed == 0 { Ok(found) } else { Err(500) }
}
