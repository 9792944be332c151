// What an operator would write with njs: the rules, over a record that comes from a
// location of nginx.

import crypto from 'crypto';

const scopeOf = { GET: 'read:tenants', HEAD: 'read:tenants', POST: 'write:tenants' };

function number(address) {
    const p = address.split('.');
    return ((p[0] * 256 + +p[1]) * 256 + +p[2]) * 256 + +p[3];
}

function allowed(ranges, address) {
    if (ranges.length == 0) return true;
    const client = number(address);
    return ranges.some(range => client >= range[0] && client <= range[1]);
}

async function check(r) {
    const header = r.headersIn.Authorization;
    if (!header || header.slice(0, 7).toLowerCase() != 'bearer ') return r.return(401);

    const digest = crypto.createHash('sha256').update(header.slice(7)).digest('hex');
    const reply = await r.subrequest('/_record', { args: 'digest=' + digest });
    if (reply.status == 404) return r.return(401);
    if (reply.status != 200) return r.return(500);

    const k = JSON.parse(reply.responseBody || reply.responseText);
    if (k.state != 'active' || !k.enabled || (k.expires && k.expires <= Date.now() / 1000)) {
        return r.return(401);
    }
    if (!allowed(k.ranges, r.remoteAddress)) return r.return(403);
    const scope = scopeOf[r.variables.request_method];
    if (!scope || !k.scopes.split(' ').includes(scope)) return r.return(403);

    r.headersOut['X-Tenant-Id'] = k.tenant;
    r.headersOut['X-Account-Id'] = k.account;
    r.headersOut['X-Credential-Id'] = k.id;
    r.headersOut['X-Scopes'] = k.scopes;
    r.return(204);
}

export default { check };
