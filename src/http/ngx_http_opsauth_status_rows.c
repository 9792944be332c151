/*
 * Every figure of opsauth_status. docs/status.md has the same list, and
 * t/67-status.t compares the two.
 */

#include "ngx_http_opsauth_status.h"
#include "oa_client.h"


static ngx_str_t ngx_http_opsauth_reason_name(ngx_uint_t i);
static ngx_str_t ngx_http_opsauth_cache_name(ngx_uint_t i);
static ngx_str_t ngx_http_opsauth_eviction_name(ngx_uint_t i);
static ngx_str_t ngx_http_opsauth_error_name(ngx_uint_t i);
static ngx_str_t ngx_http_opsauth_mode_name(ngx_uint_t i);
static ngx_str_t ngx_http_opsauth_grant_name(ngx_uint_t i);
static ngx_str_t ngx_http_opsauth_table_name(ngx_uint_t i);


/* the build fails where they don't stand side by side */
typedef u_char  ngx_http_opsauth_rows_layout_t
    [offsetof(ngx_opsauth_table_stats_t, negative_evictions)
        == offsetof(ngx_opsauth_table_stats_t, evictions) + sizeof(uint64_t)
     && OA_GRANT_AUTHORIZATION_CODE == 1 && OA_GRANT_REFRESH_TOKEN == 2
     && OA_GRANT_CLIENT_CREDENTIALS == 4
     ? 1 : -1];


#define at(field)  offsetof(ngx_http_opsauth_snapshot_t, field)

#define counter(section, key, name, field, help)                              \
    { section, key, name, NGX_HTTP_OPSAUTH_COUNTER, 0, at(field), help, NULL, \
      NULL, 1, NULL }

#define gauge(section, key, name, field, help)                                \
    { section, key, name, NGX_HTTP_OPSAUTH_GAUGE, 0, at(field), help, NULL,   \
      NULL, 1, NULL }

#define seconds(section, key, name, field, help)                              \
    { section, key, name, NGX_HTTP_OPSAUTH_GAUGE, 1, at(field), help, NULL,   \
      NULL, 1, NULL }

#define histogram(section, key, name, field, help)                            \
    { section, key, name, NGX_HTTP_OPSAUTH_HISTOGRAM, 1, at(field), help,     \
      NULL, NULL, 1, NULL }

#define counters(section, key, name, field, labels, by, n, value, help)       \
    { section, key, name, NGX_HTTP_OPSAUTH_COUNTER, 0, at(field), help,       \
      labels, by, n, value }

#define gauges(section, key, name, field, labels, by, n, value, help)         \
    { section, key, name, NGX_HTTP_OPSAUTH_GAUGE, 0, at(field), help,         \
      labels, by, n, value }


const ngx_http_opsauth_row_t  ngx_http_opsauth_rows[] = {

    counters("requests", "allow", "opsauth_requests_total", allowed,
             "verdict=\"allow\",reason=\"ok\"", NULL, 1, NULL,
             "Requests, by verdict and reason."),
    counters("requests", "deny", "opsauth_requests_total", counts.verdicts[0],
             "verdict=\"deny\"", "reason", OA_REASON_COUNT,
             ngx_http_opsauth_reason_name, "Requests that were turned away."),
    counters("requests", "shadow_deny", "opsauth_requests_total",
             counts.verdicts[1], "verdict=\"shadow-deny\"", "reason",
             OA_REASON_COUNT, ngx_http_opsauth_reason_name,
             "Requests that would have been turned away."),

    counters("cache", "requests", "opsauth_cache_requests_total", counts.cache,
             NULL, "result", NGX_HTTP_OPSAUTH_CACHE_STALE + 1,
             ngx_http_opsauth_cache_name,
             "Requests, by what the cache had of their records."),
    gauge("cache", "slots", "opsauth_cache_slots", cache.table.slots,
          "Slots of the cache, 64 bytes each."),
    gauge("cache", "slots_used", "opsauth_cache_slots_used", cache.table.used,
          "Slots that hold entries."),
    gauge("cache", "entries", "opsauth_cache_entries", cache.table.entries,
          "Entries, outdated ones included."),
    gauge("cache", "negative_entries", "opsauth_cache_negative_entries",
          cache.table.negatives,
          "Entries that say that there is no usable record."),
    counter("cache", "fills", "opsauth_cache_fills_total", cache.fills,
            "Entries written."),
    counter("cache", "fills_refused", "opsauth_cache_fills_refused_total",
            cache.refused,
            "Records not kept, since a change was announced meanwhile or "
            "something newer was there."),
    counters("cache", "evictions", "opsauth_cache_evictions_total",
             cache.table.evictions, NULL, "kind", 2,
             ngx_http_opsauth_eviction_name,
             "Entries pushed out by others."),
    counter("cache", "invalidations", "opsauth_cache_invalidations_total",
            cache.invalidations, "Changes of records that were announced."),
    counter("cache", "flushes", "opsauth_cache_flushes_total", cache.flushes,
            "Times that everything was dropped."),
    counter("cache", "repairs", "opsauth_cache_repairs_total",
            cache.table.torn, "Sets cleared after a worker had died in them."),

    histogram("lookups", "duration_seconds", "opsauth_lookup_duration_seconds",
              counts.redis.lookup_time,
              "What requests waited for the read of one record. Hits wait for "
              "none."),
    counter("lookups", "reads", "opsauth_lookup_reads_total",
            counts.redis.lookups, "Reads of records that were begun."),
    counter("lookups", "joins", "opsauth_lookup_joins_total",
            counts.redis.joins,
            "Requests that shared a read which was under way."),
    counter("lookups", "refused", "opsauth_lookup_refused_total",
            counts.redis.refusals,
            "Reads that could not be made: Redis is down, or a bound is "
            "reached."),
    gauge("lookups", "in_flight", "opsauth_lookup_reads_in_flight",
          counts.redis.reads, "Reads under way."),
    gauge("lookups", "waiters", "opsauth_lookup_waiters", counts.redis.waiters,
          "Requests that wait for a read."),

    gauges("feed", "connections", "opsauth_feed_connections",
           counts.redis.feed, NULL, "mode", NGX_OPSAUTH_STATS_FEED_MODES,
           ngx_http_opsauth_mode_name,
           "Feeds of changes, by what they can do now."),
    gauge("feed", "covered", "opsauth_feed_covered", covered,
          "1 if every change is known to be announced, else records are good "
          "for one lease only."),
    seconds("feed", "coverage_age_seconds",
            "opsauth_feed_coverage_age_seconds", coverage_age,
            "Time up to which changes may not have been announced yet; NaN: "
            "there never was a feed."),
    histogram("feed", "revocation_lag_seconds",
              "opsauth_revocation_lag_seconds", counts.redis.feed_time,
              "Round trip of the feed's PING, which bounds what an announced "
              "change takes to get here."),
    counter("feed", "connects", "opsauth_feed_connects_total",
            counts.redis.feed_connects, "Feeds that came up."),
    counter("feed", "losses", "opsauth_feed_losses_total",
            counts.redis.feed_losses,
            "Feeds that were lost, and attempts that failed."),
    counter("feed", "gaps", "opsauth_feed_gaps_total", cache.gaps,
            "Times that coverage began anew."),
    seconds("feed", "lease_seconds", "opsauth_lease_seconds", lease,
            "The bound on how long a revoked credential can pass."),

    gauge("redis", "connections", "opsauth_redis_connections",
          counts.redis.connected, "Workers that are connected."),
    gauge("redis", "pending", "opsauth_redis_commands_pending",
          counts.redis.pending, "Commands without an answer so far."),
    gauge("redis", "breaker_open", "opsauth_redis_breaker_open",
          counts.redis.breaker,
          "Workers that ask nothing, since most was not answered in time."),
    counter("redis", "breaker_openings", "opsauth_redis_breaker_openings_total",
            counts.redis.openings, "Times that a worker stopped asking."),
    counter("redis", "connects", "opsauth_redis_connects_total",
            counts.redis.connects, "Connections that came up."),
    counter("redis", "connection_failures",
            "opsauth_redis_connection_failures_total", counts.redis.failures,
            "Attempts to connect that failed, and connections that were "
            "lost."),
    counter("redis", "commands", "opsauth_redis_commands_total",
            counts.redis.commands, "Commands, reads of records included."),
    histogram("redis", "command_duration_seconds",
              "opsauth_redis_command_duration_seconds",
              counts.redis.command_time, "From a command's write to its reply."),
    counters("redis", "errors", "opsauth_redis_errors_total",
             counts.redis.errors, NULL, "class", NGX_OPSAUTH_STATS_ERRORS,
             ngx_http_opsauth_error_name,
             "Commands without a usable answer, by why."),

    counters("oauth", "issued", "opsauth_oauth_tokens_issued_total",
             counts.issued, NULL, "grant", NGX_HTTP_OPSAUTH_GRANTS,
             ngx_http_opsauth_grant_name, "Access tokens issued, by grant."),
    counters("oauth", "errors", "opsauth_oauth_errors_total",
             counts.oauth_errors, NULL, "error", NGX_HTTP_OPSAUTH_OAUTH_ERRORS,
             ngx_http_opsauth_oauth_error_name,
             "Errors answered by endpoints of the token service."),

    gauges("rates", "buckets", "opsauth_rate_buckets", rate.slots, NULL, "of",
           NGX_OPSAUTH_RATE_TABLES, ngx_http_opsauth_table_name,
           "Buckets that there is room for."),
    gauges("rates", "buckets_used", "opsauth_rate_buckets_used", rate.used,
           NULL, "of", NGX_OPSAUTH_RATE_TABLES, ngx_http_opsauth_table_name,
           "Buckets that somebody has."),
    gauges("rates", "buckets_busy", "opsauth_rate_buckets_busy", rate.busy,
           NULL, "of", NGX_OPSAUTH_RATE_TABLES, ngx_http_opsauth_table_name,
           "Buckets that are not full now."),
    counter("rates", "evicted", "opsauth_rate_buckets_evicted_total",
            rate.counters[NGX_OPSAUTH_RATE_EVICTED],
            "Buckets that changed hands while in use."),
    counter("rates", "refused", "opsauth_rate_refused_total",
            rate.counters[NGX_OPSAUTH_RATE_REFUSED],
            "Requests of accounts over their rate."),
    counter("rates", "failures", "opsauth_rate_failures_total",
            rate.counters[NGX_OPSAUTH_RATE_FAILURES],
            "Failed attempts charged to addresses."),
    counter("rates", "slowed", "opsauth_rate_slowed_total",
            rate.counters[NGX_OPSAUTH_RATE_SLOWED],
            "Requests refused to addresses after failed attempts."),
    gauge("rates", "nodes", "opsauth_rate_nodes", rate.nodes,
          "Nodes that share the store's rates; 0: not known."),
    counter("rates", "chunks_asked", "opsauth_rate_chunks_asked_total",
            rate.counters[NGX_OPSAUTH_RATE_ASKED],
            "Chunks of quota asked of Redis."),
    counter("rates", "chunks_unanswered",
            "opsauth_rate_chunks_unanswered_total",
            rate.counters[NGX_OPSAUTH_RATE_UNANSWERED],
            "Chunks of quota that Redis did not answer."),
    counter("rates", "granted", "opsauth_rate_granted_total",
            rate.counters[NGX_OPSAUTH_RATE_GRANTED],
            "Requests granted in such chunks."),
    counter("rates", "own_share", "opsauth_rate_own_share_total",
            rate.counters[NGX_OPSAUTH_RATE_SHARED],
            "Requests on this node's own share, without Redis."),

    gauge("usage", "credentials", "opsauth_usage_credentials", usage.entries,
          "Credentials whose usage is in the zone."),
    gauge("usage", "room", "opsauth_usage_room", usage.slots,
          "Credentials that there is room for; 0: usage is off."),
    counter("usage", "flushes", "opsauth_usage_flushes_total", usage.flushes,
            "Batches of usage that were written to Redis."),
    counter("usage", "errors", "opsauth_usage_errors_total", usage.errors,
            "Batches of usage that were not, or not all of it."),
    counter("usage", "written", "opsauth_usage_requests_written_total",
            usage.written, "Requests in the usage that was written."),
    counter("usage", "lost", "opsauth_usage_requests_lost_total", usage.lost,
            "Requests that no usage record has."),

    gauge("process", "workers", "opsauth_workers", workers,
          "Processes that count, of all cycles."),
    gauge("process", "since", "opsauth_start_time_seconds", since,
          "When counting began, in seconds since the epoch.")
};


const ngx_uint_t  ngx_http_opsauth_nrows = sizeof(ngx_http_opsauth_rows)
                                           / sizeof(ngx_http_opsauth_rows[0]);


/* "ok" is no reason to turn anybody away */

static ngx_str_t
ngx_http_opsauth_reason_name(ngx_uint_t i)
{
    ngx_str_t  none = ngx_null_string;

    return (i == OA_REASON_OK) ? none
                    : ngx_http_opsauth_str(oa_reason_info(i)->name);
}


static ngx_str_t
ngx_http_opsauth_cache_name(ngx_uint_t i)
{
    static const ngx_str_t  names[] = {
        ngx_null_string, ngx_string("bypass"), ngx_string("hit"),
        ngx_string("miss"), ngx_string("stale")
    };

    return names[i];
}


static ngx_str_t
ngx_http_opsauth_eviction_name(ngx_uint_t i)
{
    static const ngx_str_t  names[] = {
        ngx_string("record"), ngx_string("negative")
    };

    return names[i];
}


static ngx_str_t
ngx_http_opsauth_error_name(ngx_uint_t i)
{
    ngx_str_t  name;

    name.data = (u_char *) ngx_opsauth_redis_error_name(i);
    name.len = (i == NGX_OPSAUTH_REDIS_OK) ? 0 : ngx_strlen(name.data);

    return name;
}


static ngx_str_t
ngx_http_opsauth_mode_name(ngx_uint_t i)
{
    static const ngx_str_t  names[] = {
        ngx_string("off"), ngx_string("connecting"), ngx_string("tracking"),
        ngx_string("channel")
    };

    return names[i];
}


ngx_str_t
ngx_http_opsauth_feed_mode_name(ngx_http_opsauth_snapshot_t *snapshot)
{
    ngx_uint_t  i;

    static const ngx_opsauth_feed_mode_e  best[] = {
        NGX_OPSAUTH_FEED_TRACKING, NGX_OPSAUTH_FEED_CHANNEL,
        NGX_OPSAUTH_FEED_CONNECTING
    };

    for (i = 0; i < sizeof(best) / sizeof(best[0]); i++) {
        if (snapshot->counts.redis.feed[best[i]]) {
            return ngx_http_opsauth_mode_name(best[i]);
        }
    }

    return ngx_http_opsauth_mode_name(NGX_OPSAUTH_FEED_OFF);
}


static ngx_str_t
ngx_http_opsauth_grant_name(ngx_uint_t i)
{
    static const ngx_str_t  names[NGX_HTTP_OPSAUTH_GRANTS] = {
        ngx_string("authorization_code"), ngx_string("refresh_token"),
        ngx_string("client_credentials")
    };

    return names[i];
}


static ngx_str_t
ngx_http_opsauth_table_name(ngx_uint_t i)
{
    static const ngx_str_t  names[NGX_OPSAUTH_RATE_TABLES] = {
        ngx_string("account"), ngx_string("address")
    };

    return names[i];
}


ngx_str_t
ngx_http_opsauth_oauth_error_name(ngx_uint_t i)
{
    static const ngx_str_t  names[NGX_HTTP_OPSAUTH_OAUTH_ERRORS] = {
        ngx_string("invalid_request"), ngx_string("invalid_client"),
        ngx_string("invalid_grant"), ngx_string("invalid_scope"),
        ngx_string("unauthorized_client"),
        ngx_string("unsupported_grant_type"),
        ngx_string("unsupported_response_type"),
        ngx_string("unsupported_token_type"), ngx_string("access_denied"),
        ngx_string("temporarily_unavailable"), ngx_string("server_error"),
        ngx_string("other")
    };

    return names[i];
}
