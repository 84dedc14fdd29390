// Evaluates flags with OpenFeature's own provider for flagd, in process, and prints what
// comes out: one line of JSON for every line on its input, which is
// {"flag","kind","default","context"}. STELE_ADDRESS and STELE_TOKEN say where the flags
// are, and who reads them.
const { OpenFeature } = require('@openfeature/server-sdk');
const { FlagdProvider } = require('@openfeature/flagd-provider');

async function main() {
  const [host, port] = process.env.STELE_ADDRESS.split(':');
  const provider = new FlagdProvider({ host, port: Number(port), resolverType: 'in-process', deadlineMs: 20000 });
  // The provider has no setting for a header yet, but a place where it would go.
  provider._service._dataFetcher._metadata.set('authorization', 'Bearer ' + process.env.STELE_TOKEN);
  await OpenFeature.setProviderAndWait(provider);
  const client = OpenFeature.getClient();
  const kinds = {
    boolean: 'getBooleanDetails', string: 'getStringDetails', number: 'getNumberDetails', object: 'getObjectDetails',
  };
  for await (const line of require('readline').createInterface({ input: process.stdin })) {
    const ask = JSON.parse(line);
    const { value, variant, reason, errorCode } = await client[kinds[ask.kind]](ask.flag, ask.default, ask.context);
    console.log(JSON.stringify({ value, variant, reason, errorCode }));
  }
  await OpenFeature.close();
}

main().catch((err) => { console.error(err); process.exit(1); });
