/* What Rust cannot say itself: macros and variadic functions of httpd. See src/httpd/shim.c. */
#ifndef JWT_GATE_SHIM_H
#define JWT_GATE_SHIM_H

#include "httpd.h"
#include "util_filter.h"

/* APLOG_IS_LEVEL and APLOG_R_IS_LEVEL: would a line of this level be written? */
int jwt_gate_log_enabled(const server_rec *s, const request_rec *r, int level);

/* ap_log_error and ap_log_rerror (variadic) with a text of `length` bytes. */
void jwt_gate_log_server(const server_rec *s, int level, const char *text, int length);
void jwt_gate_log_request(const request_rec *r, int level, const char *text, int length);


/* APR_BUCKET_* and APR_BRIGADE_* (inline macros): a brigade of one body and the end of the response,
 * handed to the next filter. */
apr_status_t jwt_gate_pass_body(ap_filter_t *f, const char *body, apr_size_t length);

/* APR_BRIGADE_* : whether the brigade holds the end of the response. */
int jwt_gate_has_eos(apr_bucket_brigade *bb);

#endif
