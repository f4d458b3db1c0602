// Writes model.json and weights.bin here, with the package @tensorflow/tfjs in NODE_PATH: `node record.js`.
// The numbers are random: other ones each time.
const fs = require('fs'), path = require('path'), tf = require('@tensorflow/tfjs');
const model = tf.sequential({layers: [
  tf.layers.embedding({inputDim: 10, outputDim: 6, inputLength: 5}),
  tf.layers.bidirectional({layer: tf.layers.lstm({units: 4, returnSequences: true}), mergeMode: 'concat'}),
  tf.layers.gru({units: 3, returnSequences: true}),
  tf.layers.conv1d({filters: 4, kernelSize: 2}),
  tf.layers.batchNormalization({}),
  tf.layers.reshape({targetShape: [4, 4, 1]}),
  tf.layers.separableConv2d({filters: 3, kernelSize: 2}),
  tf.layers.flatten(),
  tf.layers.dense({units: 2, kernelConstraint: 'maxNorm'}),
]});
model.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
model.save({save: async ({weightData, weightSpecs, ...told}) => {
  const weightsManifest = [{paths: ['./weights.bin'], weights: weightSpecs}];
  fs.writeFileSync(path.join(__dirname, 'weights.bin'), Buffer.from(weightData));
  fs.writeFileSync(path.join(__dirname, 'model.json'), JSON.stringify({...told, weightsManifest}));
  return {};
}});
