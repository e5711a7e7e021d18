/* Input of bindgen: the headers that src/httpd/ is made for. Built against whatever httpd is installed. */
#include "httpd.h"
#include "http_config.h"
#include "http_core.h"
#include "http_log.h"
#include "http_protocol.h"
#include "http_request.h"
#include "ap_expr.h"
#include "ap_mpm.h"
#include "mod_auth.h"
#include "mod_core.h"
#include "mod_proxy.h"
#include "mod_watchdog.h"
#include "unixd.h"
#include "util_filter.h"
#include "apr_buckets.h"
#include "apr_optional.h"
#include "apr_pools.h"
#include "apr_shm.h"
#include "apr_strings.h"
#include "apr_tables.h"

/* Macros of httpd that bindgen cannot turn into constants. */
enum {
    JWT_GATE_OK = OK,
    JWT_GATE_DECLINED = DECLINED,
    JWT_GATE_DONE = DONE,
    JWT_GATE_RSRC_CONF = RSRC_CONF,
    JWT_GATE_ACCESS_CONF = ACCESS_CONF,
    JWT_GATE_HOOK_REALLY_FIRST = APR_HOOK_REALLY_FIRST,
    JWT_GATE_HOOK_FIRST = APR_HOOK_FIRST,
    JWT_GATE_HOOK_MIDDLE = APR_HOOK_MIDDLE,
    JWT_GATE_HOOK_LAST = APR_HOOK_LAST,
    JWT_GATE_HOOK_REALLY_LAST = APR_HOOK_REALLY_LAST
};
