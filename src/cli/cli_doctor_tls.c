/*
 * opsauth doctor: TLS to Redis. A certificate that the gateway would refuse has
 * ended the run before: this looks at what was agreed upon, and at what will
 * end soon.
 */

#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_text.h"

#include <string.h>


#define DAY        86400
#define DAYS_SOON  14


static int
is_old(const char *protocol)
{
    return strcmp(protocol, "TLSv1.2") != 0
           && strcmp(protocol, "TLSv1.3") != 0;
}


static void
protocol(cli_doctor_t *d, const cli_tls_facts_t *facts)
{
    if (is_old(facts->protocol)) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "TLS",
                       "set tls-protocols \"TLSv1.2 TLSv1.3\" in Redis, and "
                       "leave redis_ssl_protocols out",
                       "%s, %s: this version is broken", facts->protocol,
                       facts->cipher);
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_OK, "TLS", NULL, "%s, %s", facts->protocol,
                   facts->cipher);
}


static void
trust(cli_doctor_t *d, const cli_tls_facts_t *facts)
{
    const char           *name;
    const cli_setting_t  *verify;

    verify = &d->as_gateway.ssl_verify;

    if (verify->value != NULL && strcmp(verify->value, "off") == 0) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "trust",
                       "name its CA by redis_ssl_trusted_certificate, and "
                       "leave that out",
                       "verification is off (%s): whoever is in between can "
                       "pass for Redis; the certificate %s", verify->from,
                       facts->trouble
                       ? cli_format("would not be accepted: %s",
                                    facts->trouble)
                       : "would be accepted");
        return;
    }

    name = d->as_gateway.ssl_name.value;

    cli_doctor_say(d, CLI_DOCTOR_OK, "trust", NULL,
                   "its certificate is for %s, and signed by a CA of %s",
                   name ? cli_quotez(name) : "this host",
                   d->as_gateway.ssl_trusted.value
                   ? cli_quotez(d->as_gateway.ssl_trusted.value)
                   : "this system");
}


static void
certificate(cli_doctor_t *d, const cli_tls_facts_t *facts)
{
    long long  days;

    if (facts->subject == NULL) {
        return;
    }

    days = (long long) (facts->expires / DAY);

    if (facts->expires <= 0) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "certificate", "renew it",
                       "%s of %s has expired", facts->subject, facts->issuer);

    } else if (days < DAYS_SOON) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "certificate",
                       "renew it before: then no gateway gets to Redis any "
                       "more",
                       "%s of %s expires in %lld day%s", facts->subject,
                       facts->issuer, days, (days == 1) ? "" : "s");

    } else {
        cli_doctor_say(d, CLI_DOCTOR_OK, "certificate", NULL,
                       "%s of %s expires in %lld days", facts->subject,
                       facts->issuer, days);
    }
}


void
cli_doctor_tls(cli_doctor_t *d)
{
    cli_tls_facts_t  facts;

    if (d->gateway.tls == NULL) {
        return;
    }

    cli_tls_facts(d->gateway.tls, &facts);

    protocol(d, &facts);
    trust(d, &facts);
    certificate(d, &facts);
}
