/**
 * Parts of specs that are equal in most jobs of a queue: their needs, environments and names are
 * one object in memory each. What is long is most likely the only one of its kind and stays as it is.
 */
import { Interned } from '../base/interned.ts';
import type { JobSpec, Needs } from './job.ts';

const MAX_SHARED_CHARS = 512;

type TextMap = Readonly<Record<string, string>>;

export class SpecParts {
  private readonly needs = new Interned<Needs>();
  private readonly maps = new Interned<TextMap>();
  private readonly texts = new Interned<string>();

  share(spec: JobSpec): JobSpec {
    return {
      ...spec,
      taskType: this.shareText(spec.taskType),
      run: this.shareText(spec.run),
      env: this.shareMap(spec.env),
      needs: this.shareNeeds(spec.needs),
    };
  }

  shareNeeds(needs: Needs): Needs {
    const { target } = needs;
    const labels = this.shareMap(needs.labels);
    const capabilities = this.shareMap(needs.capabilities);
    if (target === undefined && labels === NONE && capabilities === NONE) return NO_NEEDS;
    const key = JSON.stringify([target ?? null, needs.labels, needs.capabilities]);
    if (key.length > MAX_SHARED_CHARS) return needs;
    return this.needs.get(key, () => ({ ...needs, labels, capabilities }));
  }

  shareMap(map: TextMap): TextMap {
    if (Object.keys(map).length === 0) return NONE;
    const key = JSON.stringify(map);
    return key.length > MAX_SHARED_CHARS ? map : this.maps.get(key, () => map);
  }

  shareText<Text extends string>(text: Text): Text {
    return text.length > MAX_SHARED_CHARS ? text : (this.texts.get(text, () => text) as Text);
  }
}

/** Of most jobs. */
const NONE: TextMap = {};
const NO_NEEDS: Needs = { labels: NONE, capabilities: NONE };
