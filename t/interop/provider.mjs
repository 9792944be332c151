// An authorization server of somebody else's: oidc-provider, in memory. Its first
// argument is the port; it says "ready" once it listens.

import { webcrypto } from 'node:crypto';
globalThis.crypto ??= webcrypto;

const { default: Provider } = await import('oidc-provider');

const port = Number(process.argv[2]);
const service = (client_id, client_secret) => ({
    client_id, client_secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
    scope: 'read:tenants write:tenants',
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [service('crm', 'secret-of-crm'), service('nobody', 'secret-of-nobody'), service('gateway', 'secret-of-gateway')],
    scopes: ['read:tenants', 'write:tenants'],
    features: {
        devInteractions: { enabled: false },
        clientCredentials: { enabled: true },
        introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId === 'gateway' },
        revocation: { enabled: true },
    },
    extraTokenClaims: () => ({ org: 'org_77', realm: { roles: ['customer', 'plans-and-rates'] } }),
    ttl: { ClientCredentials: 600 },
});

provider.listen(port, '127.0.0.1', () => console.log('ready'));
