/* Each function stands for a macro or a variadic function of httpd; nothing is decided here. */
#include "jwt_gate_shim.h"
#include "apr_buckets.h"
#include "http_config.h"
#include "http_log.h"

extern module AP_MODULE_DECLARE_DATA jwt_gate_module;

#define INDEX (jwt_gate_module.module_index)

int jwt_gate_log_enabled(const server_rec *s, const request_rec *r, int level)
{
    if (r) {
        return APLOG_R_MODULE_IS_LEVEL(r, INDEX, level);
    }
    return s && APLOG_MODULE_IS_LEVEL(s, INDEX, level);
}

void jwt_gate_log_server(const server_rec *s, int level, const char *text, int length)
{
    ap_log_error_(NULL, 0, INDEX, level, 0, s, "%.*s", length, text);
}

void jwt_gate_log_request(const request_rec *r, int level, const char *text, int length)
{
    ap_log_rerror_(NULL, 0, INDEX, level, 0, r, "%.*s", length, text);
}


apr_status_t jwt_gate_pass_body(ap_filter_t *f, const char *body, apr_size_t length)
{
    apr_bucket_alloc_t *alloc = f->c->bucket_alloc;
    apr_bucket_brigade *bb = apr_brigade_create(f->r->pool, alloc);

    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_pool_create(body, length, f->r->pool, alloc));
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(alloc));
    return ap_pass_brigade(f->next, bb);
}

int jwt_gate_has_eos(apr_bucket_brigade *bb)
{
    apr_bucket *e;

    for (e = APR_BRIGADE_FIRST(bb); e != APR_BRIGADE_SENTINEL(bb); e = APR_BUCKET_NEXT(e)) {
        if (APR_BUCKET_IS_EOS(e)) {
            return 1;
        }
    }
    return 0;
}
